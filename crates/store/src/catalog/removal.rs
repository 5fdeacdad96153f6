//! What the collector of garbage writes. Every removal asks again, in its own transaction, whether the row is still
//! condemned for long enough: whoever named it meanwhile has taken that back.

use std::str::FromStr;

use sqlx::any::AnyRow;
use sqlx::{Any, AssertSqlSafe, Transaction};
use weighthouse_format::xet::hash::XetHash;

use super::garbage::{HistoryKind, PAGE};
use super::recodes::forget_makeup;
use super::{Catalog, LOOKUP_KEYS, PackId, RefRecord, RepoKey, insert_rows, parsed, placeholders};
use crate::StoreError;
use crate::digest::{GitOid, Sha256};

/// What the collector writes.
#[derive(Debug)]
pub struct Removal<'a>(pub(super) &'a Catalog);

/// Kinds of rows that carry the time of their condemnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    Content,
    Xorb,
}

impl Stored {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Content => ("contents", "sha256"),
            Self::Xorb => ("xorbs", "hash"),
        }
    }
}

impl Removal<'_> {
    /// Condemns contents or xorbs that are not condemned yet.
    pub(crate) async fn condemn(&self, what: Stored, keys: &[String], now_ms: i64) -> Result<(), StoreError> {
        let (table, column) = what.names();
        self.set(&format!("UPDATE {table} SET condemned_at = $1 WHERE condemned_at = 0 AND {column} IN"), now_ms, keys)
            .await
    }

    /// Takes it back.
    pub(crate) async fn restore(&self, what: Stored, keys: &[String]) -> Result<(), StoreError> {
        let (table, column) = what.names();
        self.set(&format!("UPDATE {table} SET condemned_at = $1 WHERE condemned_at > 0 AND {column} IN"), 0, keys).await
    }

    /// Removes contents that were condemned at `cutoff_ms` or before, with what is known of their tensors, and with the
    /// verdicts on them unless commits go on naming them (`named`). Returns those that were, and the number of verdicts.
    pub(crate) async fn contents(
        &self,
        digests: &[Sha256],
        cutoff_ms: i64,
        named: impl Fn(&Sha256) -> bool,
    ) -> Result<(Vec<Sha256>, u64), StoreError> {
        let failed = "removing contents";
        let (mut gone, mut verdicts) = (Vec::new(), 0);
        for batch in digests.chunks(LOOKUP_KEYS) {
            let mut tx = self.0.write().await?;
            let removed = take(&mut tx, failed, Stored::Content, batch, cutoff_ms).await?;
            let keys: Vec<String> = removed.iter().map(ToString::to_string).collect();
            for statement in ["DELETE FROM repo_contents WHERE sha256 IN", "DELETE FROM base_xorbs WHERE base IN"] {
                delete(&mut tx, failed, statement, "", &keys).await?;
            }
            let unnamed: Vec<String> = removed.iter().filter(|one| !named(one)).map(ToString::to_string).collect();
            delete(&mut tx, failed, "DELETE FROM repo_files WHERE sha256 IN", "", &unnamed).await?;
            verdicts += delete(&mut tx, failed, "DELETE FROM verdicts WHERE sha256 IN", "", &unnamed).await?;
            for table in ["tensors", "repo_sources"] {
                let head =
                    format!("DELETE FROM {table} WHERE source IN (SELECT id FROM tensor_sources WHERE digest IN");
                delete(&mut tx, failed, &head, ")", &keys).await?;
            }
            delete(&mut tx, failed, "DELETE FROM tensor_sources WHERE digest IN", "", &keys).await?;
            tx.commit().await.map_err(StoreError::database(failed))?;
            gone.extend(removed);
        }
        Ok((gone, verdicts))
    }

    /// Removes xorbs likewise, with everything that is known of them.
    pub(crate) async fn xorbs(&self, hashes: &[XetHash], cutoff_ms: i64) -> Result<Vec<XetHash>, StoreError> {
        let failed = "removing xorbs";
        let mut gone = Vec::new();
        for batch in hashes.chunks(LOOKUP_KEYS) {
            let mut tx = self.0.write().await?;
            let removed = take(&mut tx, failed, Stored::Xorb, batch, cutoff_ms).await?;
            let keys: Vec<String> = removed.iter().map(ToString::to_string).collect();
            for statement in [
                "DELETE FROM xorb_holders WHERE xorb IN",
                "DELETE FROM dedup_chunks WHERE xorb IN",
                "DELETE FROM xorb_successors WHERE xorb IN",
                "DELETE FROM base_xorbs WHERE xorb IN",
                "DELETE FROM former_xorbs WHERE hash IN",
            ] {
                delete(&mut tx, failed, statement, "", &keys).await?;
            }
            for hash in &removed {
                forget_makeup(&mut tx, hash).await?;
            }
            tx.commit().await.map_err(StoreError::database(failed))?;
            gone.extend(removed);
        }
        Ok(gone)
    }

    /// Condemns trees or blobs.
    pub(crate) async fn condemn_history(
        &self,
        kind: HistoryKind,
        oids: &[GitOid],
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let failed = "condemning history";
        let (name, _) = kind.names();
        let mut tx = self.0.write().await?;
        let head = ("INSERT INTO condemned_history (kind, repo, oid, condemned_at)", 4, "ON CONFLICT DO NOTHING");
        insert_rows(&mut tx, failed, head, oids, |q, oid| q.bind(name).bind("").bind(oid.to_string()).bind(now_ms))
            .await?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Takes it back.
    pub(crate) async fn restore_history(&self, kind: HistoryKind, oids: &[GitOid]) -> Result<(), StoreError> {
        let mut tx = self.0.write().await?;
        super::keep::history(&mut tx, kind.names().0, oids.iter().copied()).await?;
        tx.commit().await.map_err(StoreError::database("restoring history"))
    }

    /// Removes trees or blobs that were condemned at `cutoff_ms` or before. Returns how many were.
    pub(crate) async fn history(&self, kind: HistoryKind, oids: &[GitOid], cutoff_ms: i64) -> Result<u64, StoreError> {
        let failed = "removing history";
        let (name, table) = kind.names();
        let mut gone = 0;
        for batch in oids.chunks(LOOKUP_KEYS) {
            let mut tx = self.0.write().await?;
            let list = placeholders(3, batch.len());
            let sql = format!(
                "DELETE FROM condemned_history WHERE kind = $1 AND repo = '' AND condemned_at <= $2 AND oid IN ({list})
                 RETURNING oid"
            );
            let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(name).bind(cutoff_ms);
            let rows = batch
                .iter()
                .fold(query, |q, oid| q.bind(oid.to_string()))
                .fetch_all(&mut *tx)
                .await
                .map_err(StoreError::database(failed))?;
            let keys: Vec<String> = rows
                .iter()
                .map(|row| parsed::<GitOid>(row, "oid").map(|oid| oid.to_string()))
                .collect::<Result<_, StoreError>>()?;
            delete(&mut tx, failed, &format!("DELETE FROM {table} WHERE oid IN"), "", &keys).await?;
            if kind == HistoryKind::Tree {
                for table in ["readings", "tree_verdicts"] {
                    delete(&mut tx, failed, &format!("DELETE FROM {table} WHERE tree IN"), "", &keys).await?;
                }
            }
            tx.commit().await.map_err(StoreError::database(failed))?;
            gone += keys.len() as u64;
        }
        Ok(gone)
    }

    /// Marks commits of a repository as condemned, and takes it back for others.
    pub(crate) async fn condemn_commits(
        &self,
        repo: &RepoKey,
        condemned: &[GitOid],
        restored: &[GitOid],
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let failed = "condemning commits";
        let mut tx = self.0.write().await?;
        let head = ("INSERT INTO condemned_history (kind, repo, oid, condemned_at)", 4, "ON CONFLICT DO NOTHING");
        insert_rows(&mut tx, failed, head, condemned, |q, oid| {
            q.bind("commit").bind(repo.as_str()).bind(oid.to_string()).bind(now_ms)
        })
        .await?;
        for oid in restored {
            sqlx::query("DELETE FROM condemned_history WHERE kind = 'commit' AND repo = $1 AND oid = $2")
                .bind(repo.as_str())
                .bind(oid.to_string())
                .execute(&mut *tx)
                .await
                .map_err(StoreError::database(failed))?;
        }
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Removes commits of a repository, unless its refs are not those that were seen: then none of them, and `false`.
    pub(crate) async fn commits(
        &self,
        repo: &RepoKey,
        seen: &[RefRecord],
        oids: &[GitOid],
    ) -> Result<bool, StoreError> {
        let failed = "removing commits";
        let mut tx = self.0.write().await?;
        // Whoever moves a ref of the repository holds its row until that is done.
        let lock = if tx.backend_name() == "SQLite" { "" } else { " FOR UPDATE" };
        sqlx::query(AssertSqlSafe(format!("SELECT key FROM repos WHERE key = $1{lock}")))
            .bind(repo.as_str())
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        let rows = sqlx::query("SELECT name, target FROM refs WHERE repo = $1 ORDER BY name")
            .bind(repo.as_str())
            .fetch_all(&mut *tx)
            .await
            .map_err(StoreError::database(failed))?;
        let now: Vec<RefRecord> = rows
            .iter()
            .map(|row| Ok(RefRecord { name: super::text(row, "name")?, target: parsed(row, "target")? }))
            .collect::<Result<_, StoreError>>()?;
        if now != seen {
            return Ok(false);
        }
        for oid in oids {
            for statement in [
                "DELETE FROM commits WHERE repo = $1 AND oid = $2",
                "DELETE FROM thinned_commits WHERE repo = $1 AND oid = $2",
                "DELETE FROM requests WHERE repo = $1 AND commit_oid = $2",
                "DELETE FROM condemned_history WHERE kind = 'commit' AND repo = $1 AND oid = $2",
            ] {
                sqlx::query(statement)
                    .bind(repo.as_str())
                    .bind(oid.to_string())
                    .execute(&mut *tx)
                    .await
                    .map_err(StoreError::database(failed))?;
            }
        }
        tx.commit().await.map_err(StoreError::database(failed))?;
        Ok(true)
    }

    /// Forgets that a repository was given contents, as long as it was at `cutoff_ms` or before.
    pub(crate) async fn given(&self, repo: &RepoKey, digests: &[Sha256], cutoff_ms: i64) -> Result<(), StoreError> {
        let failed = "forgetting what a repository was given";
        for batch in digests.chunks(LOOKUP_KEYS) {
            let list = placeholders(3, batch.len());
            let sql = format!("DELETE FROM repo_contents WHERE repo = $1 AND given_at <= $2 AND sha256 IN ({list})");
            let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(repo.as_str()).bind(cutoff_ms);
            batch
                .iter()
                .fold(query, |q, digest| q.bind(digest.to_string()))
                .execute(&self.0.pool)
                .await
                .map_err(StoreError::database(failed))?;
        }
        Ok(())
    }

    /// Conversions and comparisons that nobody used since `before_ms`: how many there are. With `execute` they are removed.
    pub(crate) async fn unused(&self, before_ms: i64, execute: bool) -> Result<(u64, u64), StoreError> {
        let failed = "removing what nobody uses";
        let conversions = "FROM conversions WHERE used_at < $1 AND (record <> '' OR error <> '')";
        let comparisons = "FROM comparisons WHERE asked_at < $1 AND used_at < $1 AND (document <> '' OR error <> '')";
        let mut tx = self.0.write().await?;
        let mut counts = [0u64; 2];
        for (count, what) in counts.iter_mut().zip([conversions, comparisons]) {
            let row = sqlx::query(AssertSqlSafe(format!("SELECT COUNT(*) AS found {what}")))
                .bind(before_ms)
                .fetch_one(&mut *tx)
                .await
                .map_err(StoreError::database(failed))?;
            *count = super::size(&row, "found")?;
        }
        if execute {
            let outputs =
                format!("DELETE FROM conversion_outputs WHERE (repo, key) IN (SELECT repo, key {conversions})");
            for statement in [outputs, format!("DELETE {conversions}"), format!("DELETE {comparisons}")] {
                sqlx::query(AssertSqlSafe(statement))
                    .bind(before_ms)
                    .execute(&mut *tx)
                    .await
                    .map_err(StoreError::database(failed))?;
            }
        }
        tx.commit().await.map_err(StoreError::database(failed))?;
        Ok((counts[0], counts[1]))
    }

    /// Contents behind `after` that have verdicts and are gone, by digest: what earlier versions left, and what a scan that
    /// was under way recorded after the removal. What a rule of retention removed is named by its commits, and stays.
    pub(crate) async fn judged_and_gone(&self, after: &str) -> Result<Vec<String>, StoreError> {
        let sql = format!(
            "SELECT DISTINCT v.sha256 AS sha256 FROM verdicts v WHERE v.sha256 > $1 AND {}
             ORDER BY v.sha256 LIMIT {PAGE}",
            is_gone("v")
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(after).fetch_all(&self.0.pool).await;
        let rows = rows.map_err(StoreError::database("looking for verdicts on what is gone"))?;
        rows.iter().map(|row| super::text(row, "sha256")).collect()
    }

    /// Removes verdicts on contents that are gone. Returns how many there were; those on a content that came again stay.
    pub(crate) async fn verdicts(&self, digests: &[String]) -> Result<u64, StoreError> {
        let failed = "removing verdicts on what is gone";
        let mut tx = self.0.write().await?;
        let [files, verdicts] = ["repo_files", "verdicts"]
            .map(|table| format!("DELETE FROM {table} WHERE {} AND sha256 IN", is_gone(table)));
        delete(&mut tx, failed, &files, "", digests).await?;
        let gone = delete(&mut tx, failed, &verdicts, "", digests).await?;
        tx.commit().await.map_err(StoreError::database(failed))?;
        Ok(gone)
    }

    /// How many verdicts there are on these contents.
    pub(crate) async fn count_verdicts(&self, digests: &[String]) -> Result<u64, StoreError> {
        let count = |row: &AnyRow| super::size(row, "found");
        let statement = ("SELECT COUNT(*) AS found FROM verdicts WHERE sha256 IN", "");
        Ok(self.0.look_up("counting verdicts", statement, digests, count).await?.into_iter().sum())
    }

    /// Forgets former places of xorbs that were left at `cutoff_ms` or before.
    pub(crate) async fn former(&self, cutoff_ms: i64) -> Result<u64, StoreError> {
        let done = sqlx::query("DELETE FROM former_xorbs WHERE retired_at <= $1")
            .bind(cutoff_ms)
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("forgetting former places"))?;
        Ok(done.rows_affected())
    }

    /// Complete packs in which nothing lies any more, and their bytes. A pack never comes into use again.
    pub(crate) async fn empty_packs(&self) -> Result<Vec<(PackId, u64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT p.id, p.size FROM packs p WHERE p.sealed = 1
             AND NOT EXISTS (SELECT 1 FROM xorbs x WHERE x.pack = p.id)
             AND NOT EXISTS (SELECT 1 FROM former_xorbs f WHERE f.pack = p.id) ORDER BY p.id",
        )
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("finding empty packs"))?;
        rows.iter().map(|row| Ok((PackId::from_row(row, "id")?, super::size(row, "size")?))).collect()
    }

    async fn set(&self, sql: &str, value: i64, keys: &[String]) -> Result<(), StoreError> {
        for batch in keys.chunks(LOOKUP_KEYS) {
            let list = placeholders(2, batch.len());
            let query = sqlx::query(AssertSqlSafe(format!("{sql} ({list})"))).persistent(false).bind(value);
            batch
                .iter()
                .fold(query, |q, key| q.bind(key))
                .execute(&self.0.pool)
                .await
                .map_err(StoreError::database("condemning"))?;
        }
        Ok(())
    }
}

/// Removes rows that were condemned at `cutoff_ms` or before. Returns the keys of those that were.
async fn take<K: ToString + FromStr>(
    tx: &mut Transaction<'static, Any>,
    failed: &'static str,
    what: Stored,
    keys: &[K],
    cutoff_ms: i64,
) -> Result<Vec<K>, StoreError> {
    let (table, column) = what.names();
    let list = placeholders(2, keys.len());
    let sql = format!(
        "DELETE FROM {table} WHERE condemned_at > 0 AND condemned_at <= $1 AND {column} IN ({list}) RETURNING {column}"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(cutoff_ms);
    let rows = keys
        .iter()
        .fold(query, |q, key| q.bind(key.to_string()))
        .fetch_all(&mut **tx)
        .await
        .map_err(StoreError::database(failed))?;
    rows.iter().map(|row| parsed(row, column)).collect()
}

/// Removes rows by keys. Returns how many there were.
async fn delete(
    tx: &mut Transaction<'static, Any>,
    failed: &'static str,
    head: &str,
    tail: &str,
    keys: &[String],
) -> Result<u64, StoreError> {
    let mut gone = 0;
    for batch in keys.chunks(LOOKUP_KEYS) {
        let list = placeholders(1, batch.len());
        let done = batch
            .iter()
            .fold(sqlx::query(AssertSqlSafe(format!("{head} ({list}){tail}"))).persistent(false), |q, key| q.bind(key))
            .execute(&mut **tx)
            .await
            .map_err(StoreError::database(failed))?;
        gone += done.rows_affected();
    }
    Ok(gone)
}

/// That neither a content nor a rule of retention knows the content of a row.
fn is_gone(table: &str) -> String {
    format!(
        "NOT EXISTS (SELECT 1 FROM contents c WHERE c.sha256 = {table}.sha256)
         AND NOT EXISTS (SELECT 1 FROM retired_contents r WHERE r.sha256 = {table}.sha256)"
    )
}
