//! Files that are not safe, and who has them: where a list of what is in quarantine begins.

use sqlx::any::AnyRow;

use super::{Catalog, RepoKey, RepoKind, parsed, text};
use crate::StoreError;
use crate::digest::Sha256;

/// Where a repository has had a content of which some verdict is not `safe`: candidates, because the branches may have
/// gone on and the policies may let it through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubtful {
    /// Repository.
    pub repo: RepoKey,
    /// Where it stands in the order.
    pub place: DoubtfulPlace,
}

/// The order of candidates: by repository, path and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoubtfulPlace {
    /// Id of the repository, in small letters.
    pub folded: String,
    /// Kind of the repository.
    pub kind: RepoKind,
    /// Path in it.
    pub path: String,
    /// Content.
    pub sha256: Sha256,
}

/// Files that are not safe.
#[derive(Debug)]
pub struct Quarantine<'a>(pub(super) &'a Catalog);

impl Quarantine<'_> {
    /// Candidates of one account's repositories or of all, in order; those after `after`, at most `limit`.
    pub async fn candidates(
        &self,
        owner: Option<&str>,
        after: Option<&DoubtfulPlace>,
        limit: u32,
    ) -> Result<Vec<Doubtful>, StoreError> {
        // A verdict under any path: what waits under a new one is suspected of what it is under another.
        let rows = sqlx::query(
            "SELECT f.repo, r.folded, r.kind, f.path, f.sha256
             FROM (SELECT DISTINCT v.sha256 FROM verdicts v
                   WHERE v.verdict IN ('caution', 'suspicious', 'error', 'unsafe')) b
             JOIN repo_files f ON f.sha256 = b.sha256 JOIN repos r ON r.key = f.repo
             WHERE ($1 = '' OR r.owner = $1) AND (r.folded, r.kind, f.path, f.sha256) > ($2, $3, $4, $5)
             ORDER BY r.folded, r.kind, f.path, f.sha256 LIMIT $6",
        )
        .bind(owner.unwrap_or_default())
        .bind(after.map_or("", |after| &after.folded))
        .bind(after.map_or("", |after| after.kind.as_str()))
        .bind(after.map_or("", |after| &after.path))
        .bind(after.map(|after| after.sha256.to_string()).unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.0.pool)
        .await
        .map_err(StoreError::database("listing what is not safe"))?;
        rows.iter().map(doubtful).collect()
    }
}

fn doubtful(row: &AnyRow) -> Result<Doubtful, StoreError> {
    Ok(Doubtful {
        repo: RepoKey::from(text(row, "repo")?),
        place: DoubtfulPlace {
            folded: text(row, "folded")?,
            kind: parsed(row, "kind")?,
            path: text(row, "path")?,
            sha256: parsed(row, "sha256")?,
        },
    })
}
