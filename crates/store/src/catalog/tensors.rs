//! The tensor index: which tensors lie where, and which of them are the same.
//!
//! A tensor is on record once for each source that holds it, whatever number of repositories have that source. Its
//! *place* says how it lies there, so that nothing is hashed twice; its *hash* is the SHA-256 of its elements, row-major
//! and little-endian, so that the same tensor is found in any file, layout and format.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Catalog, RepoKey, RepoKind, Viewer, insert_rows, parsed, size, text};
use crate::StoreError;
use crate::digest::{GitOid, Sha256};

/// Number of a source in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(i64);

/// A tensor of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorRecord {
    /// Digest over dtype, shape and layout; 32 hexadecimal digits.
    pub place: String,
    /// Name in the file where it was first seen.
    pub name: String,
    /// Element type.
    pub dtype: String,
    /// Extents, outermost first.
    pub shape: Vec<u64>,
    /// Length of the elements in bytes.
    pub size_bytes: u64,
    /// Offset in its first file.
    pub offset: u64,
    /// SHA-256 of the elements.
    pub hash: Sha256,
    /// Statistics of the elements: one JSON object, written by the layer above.
    pub statistics: String,
}

/// A source in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoSource {
    /// The source.
    pub source: SourceId,
    /// Path of its first file.
    pub path: String,
    /// File whose tensors have the recorded names; empty for the checkpoint as a whole.
    pub page: String,
}

/// A tensor in some repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorPlace {
    /// Kind of the repository.
    pub kind: RepoKind,
    /// Id of the repository.
    pub repo: String,
    /// A commit that has it.
    pub commit: GitOid,
    /// Path of its first file.
    pub path: String,
    /// File whose tensors have the recorded names; empty for the checkpoint as a whole.
    pub page: String,
    /// Name where it was first seen, which may be another repository.
    pub name: String,
    /// Digest over dtype, shape and layout.
    pub place: String,
}

/// A tensor of a source in a repository, as whoever looks for a base wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSighting {
    /// The repository.
    pub repo: RepoKey,
    /// A commit that has it.
    pub commit: GitOid,
    /// File whose tensors have the recorded names; empty for the checkpoint as a whole.
    pub page: String,
    /// Digest of the source: the SHA-256 of the file, or a digest over several.
    pub source: Sha256,
    /// The tensor.
    pub tensor: TensorRecord,
}

/// The tensor index.
#[derive(Debug)]
pub struct Tensors<'a>(pub(super) &'a Catalog);

impl Tensors<'_> {
    /// Number of the source with this digest, which is put on record if it is not.
    pub async fn source(&self, digest: &Sha256) -> Result<SourceId, StoreError> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(|e| StoreError::Task(format!("no randomness: {e}")))?;
        // Chance picks the number, since the two engines count differently; 63 bits do not meet.
        let fresh = i64::from_le_bytes(bytes) & i64::MAX;
        sqlx::query("INSERT INTO tensor_sources (id, digest) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING")
            .bind(fresh)
            .bind(digest.to_string())
            .execute(&self.0.pool)
            .await
            .map_err(StoreError::database("recording a source of tensors"))?;
        let id = self.find_source(digest).await?;
        id.ok_or_else(|| StoreError::Corrupt {
            what: format!("source {digest}"),
            detail: "it vanished while it was recorded".to_owned(),
        })
    }

    /// Number of the source with this digest, if it is on record.
    pub async fn find_source(&self, digest: &Sha256) -> Result<Option<SourceId>, StoreError> {
        let id: Option<i64> = sqlx::query_scalar("SELECT id FROM tensor_sources WHERE digest = $1")
            .bind(digest.to_string())
            .fetch_optional(&self.0.pool)
            .await
            .map_err(StoreError::database("looking for a source of tensors"))?;
        Ok(id.map(SourceId))
    }

    /// Records tensors of a source; those on record stay as they are.
    pub async fn add(&self, source: SourceId, tensors: &[TensorRecord]) -> Result<(), StoreError> {
        let failed = "recording tensors";
        let mut tx = self.0.write().await?;
        let head = (
            "INSERT INTO tensors (source, place, name, dtype, shape, bytes, file_offset, hash, statistics)",
            9,
            "ON CONFLICT DO NOTHING",
        );
        insert_rows(&mut tx, failed, head, tensors, |q, tensor| {
            q.bind(source.0)
                .bind(&tensor.place)
                .bind(&tensor.name)
                .bind(&tensor.dtype)
                .bind(encode_shape(&tensor.shape))
                .bind(tensor.size_bytes.cast_signed())
                .bind(tensor.offset.cast_signed())
                .bind(tensor.hash.to_string())
                .bind(&tensor.statistics)
        })
        .await?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Places of a source that are on record, with the statistics of what lies there.
    pub async fn known(&self, source: SourceId) -> Result<Vec<(String, String)>, StoreError> {
        let rows = sqlx::query("SELECT place, statistics FROM tensors WHERE source = $1")
            .bind(source.0)
            .fetch_all(&self.0.pool)
            .await
            .map_err(StoreError::database("reading tensors"))?;
        rows.iter().map(|row| Ok((text(row, "place")?, text(row, "statistics")?))).collect()
    }

    /// A tensor by source and place.
    pub async fn get(&self, digest: &Sha256, place: &str) -> Result<Option<TensorRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT t.* FROM tensors t JOIN tensor_sources s ON s.id = t.source WHERE s.digest = $1 AND t.place = $2",
        )
        .bind(digest.to_string())
        .bind(place)
        .fetch_optional(&self.0.pool)
        .await
        .map_err(StoreError::database("looking for a tensor"))?;
        row.as_ref().map(tensor).transpose()
    }

    /// Those tensors of a source that lie at `places`, in no particular order.
    pub async fn several(&self, digest: &Sha256, places: &[String]) -> Result<Vec<TensorRecord>, StoreError> {
        let head = "SELECT t.* FROM tensors t JOIN tensor_sources s ON s.id = t.source
                    WHERE s.digest = $1 AND t.place IN";
        self.0.look_up_in("reading tensors", (head, ""), &[&digest.to_string()], places, tensor).await
    }

    /// Notes which sources a commit of a repository has.
    pub async fn note(&self, repo: &RepoKey, commit: &GitOid, sources: &[RepoSource]) -> Result<(), StoreError> {
        let failed = "recording where tensors lie";
        let mut tx = self.0.write().await?;
        let head = (
            "INSERT INTO repo_sources (repo, source, path, page, commit_oid)",
            5,
            "ON CONFLICT (repo, source) DO UPDATE
             SET path = excluded.path, page = excluded.page, commit_oid = excluded.commit_oid",
        );
        insert_rows(&mut tx, failed, head, sources, |q, found| {
            q.bind(repo.as_str()).bind(found.source.0).bind(&found.path).bind(&found.page).bind(commit.to_string())
        })
        .await?;
        tx.commit().await.map_err(StoreError::database(failed))
    }

    /// Where a tensor with these elements, dtype and shape lies, in repositories that the viewer may see; one answer for
    /// each repository and file, by id and path.
    pub async fn places(
        &self,
        (hash, dtype, shape): (&Sha256, &str, &[u64]),
        viewer: &Viewer,
        limit: u32,
    ) -> Result<Vec<TensorPlace>, StoreError> {
        let mut binds = vec![hash.to_string(), dtype.to_owned(), encode_shape(shape)];
        let sees = viewer.sees(&mut binds);
        let sql = format!(
            "SELECT r.kind, r.id, p.commit_oid, p.path, p.page, MIN(t.name) AS name, MIN(t.place) AS place
             FROM tensors t JOIN repo_sources p ON p.source = t.source JOIN repos r ON r.key = p.repo
             WHERE t.hash = $1 AND t.dtype = $2 AND t.shape = $3 AND {sees}
             GROUP BY r.kind, r.id, p.commit_oid, p.path, p.page ORDER BY r.id, r.kind, p.path LIMIT {limit}"
        );
        let rows = self.0.ask("looking for a tensor", sql, &binds).await?;
        rows.iter().map(place).collect()
    }

    /// Tensors with these elements, in models that the viewer may see; those of `owner` first.
    pub async fn twins(
        &self,
        hash: &Sha256,
        (viewer, owner): (&Viewer, &str),
        limit: u32,
    ) -> Result<Vec<TensorSighting>, StoreError> {
        self.sightings("t.hash = $1", hash.to_string(), (viewer, owner), limit).await
    }

    /// Tensors of this shape, in models that the viewer may see; those of `owner` first, then what changed last.
    pub async fn alike(
        &self,
        shape: &[u64],
        (viewer, owner): (&Viewer, &str),
        limit: u32,
    ) -> Result<Vec<TensorSighting>, StoreError> {
        self.sightings("t.shape = $1", encode_shape(shape), (viewer, owner), limit).await
    }

    /// Where the tensors of a source were seen, in models that the viewer may see.
    pub async fn seen(
        &self,
        digest: &Sha256,
        viewer: &Viewer,
    ) -> Result<Option<(RepoKey, GitOid, String)>, StoreError> {
        let mut binds = vec![digest.to_string()];
        let sees = viewer.sees(&mut binds);
        let sql = format!(
            "SELECT p.repo, p.commit_oid, p.page FROM tensor_sources s JOIN repo_sources p ON p.source = s.id
             JOIN repos r ON r.key = p.repo WHERE s.digest = $1 AND {sees} ORDER BY r.id LIMIT 1"
        );
        let rows = self.0.ask("looking for a source of tensors", sql, &binds).await?;
        let found = |row| Ok((RepoKey::from(text(row, "repo")?), parsed(row, "commit_oid")?, text(row, "page")?));
        rows.first().map(found).transpose()
    }

    async fn sightings(
        &self,
        which: &'static str,
        key: String,
        (viewer, owner): (&Viewer, &str),
        limit: u32,
    ) -> Result<Vec<TensorSighting>, StoreError> {
        let mut binds = vec![key];
        let sees = viewer.sees(&mut binds);
        binds.push(owner.to_owned());
        let owned = binds.len();
        let sql = format!(
            "SELECT t.*, p.repo, p.commit_oid, p.page, s.digest FROM tensors t
             JOIN tensor_sources s ON s.id = t.source JOIN repo_sources p ON p.source = t.source
             JOIN repos r ON r.key = p.repo WHERE {which} AND {sees}
             ORDER BY CASE WHEN r.owner = ${owned} THEN 0 ELSE 1 END, r.updated_at DESC, r.id, t.place LIMIT {limit}"
        );
        let rows = self.0.ask("looking for a tensor", sql, &binds).await?;
        rows.iter()
            .map(|row| {
                Ok(TensorSighting {
                    repo: RepoKey::from(text(row, "repo")?),
                    commit: parsed(row, "commit_oid")?,
                    page: text(row, "page")?,
                    source: parsed(row, "digest")?,
                    tensor: tensor(row)?,
                })
            })
            .collect()
    }
}

fn tensor(row: &AnyRow) -> Result<TensorRecord, StoreError> {
    let shape: String = row.try_get("shape").map_err(StoreError::database("reading tensors"))?;
    let shape = shape.split(',').filter(|extent| !extent.is_empty()).map(str::parse).collect::<Result<_, _>>();
    Ok(TensorRecord {
        place: text(row, "place")?,
        name: text(row, "name")?,
        dtype: text(row, "dtype")?,
        shape: shape.map_err(|_| super::damaged("shape", "no numbers"))?,
        size_bytes: size(row, "bytes")?,
        offset: size(row, "file_offset")?,
        hash: parsed(row, "hash")?,
        statistics: text(row, "statistics")?,
    })
}

fn place(row: &AnyRow) -> Result<TensorPlace, StoreError> {
    Ok(TensorPlace {
        kind: parsed(row, "kind")?,
        repo: text(row, "id")?,
        commit: parsed(row, "commit_oid")?,
        path: text(row, "path")?,
        page: text(row, "page")?,
        place: text(row, "place")?,
        name: text(row, "name")?,
    })
}

fn encode_shape(shape: &[u64]) -> String {
    shape.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}
