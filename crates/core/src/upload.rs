//! Git LFS objects: whole bodies, multipart uploads, and content that is there already.

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use weighthouse_store::blob::Ingest;
use weighthouse_store::catalog::{Account, RepoKey, UploadRecord, fresh_id};
use weighthouse_store::digest::Sha256;

use crate::access::{Caller, Repo};
use crate::{Error, Hub};

/// Bytes gathered from the network before they are cut into chunks.
const GATHER_BYTES: usize = 1 << 20;
/// Bytes of each part of a multipart upload.
pub const PART_BYTES: u64 = 64 << 20;
/// Objects above this size are sent in parts.
pub const MULTIPART_BYTES: u64 = 256 << 20;

/// An object that a client wants to send or to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LfsObject {
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// Length in bytes.
    pub size_bytes: u64,
}

/// Who may use an upload address, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadGrant {
    /// Repository.
    pub repo: RepoKey,
    /// Account id.
    pub account: String,
}

impl Hub {
    /// Whether the bytes of an object must be sent: not when they are stored and the caller may read them.
    pub async fn lfs_needed(&self, caller: &Caller, repo: &Repo, object: &LfsObject) -> Result<bool, Error> {
        let known = self.catalog().contents().records(&[object.sha256]).await?;
        let fits = known.first().is_some_and(|record| record.size_bytes == object.size_bytes);
        Ok(!fits || !self.readable(caller, repo, &object.sha256).await?)
    }

    /// Takes in the bytes of an object.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when they are not the announced ones; nothing of them stays then.
    pub async fn lfs_put<S, E>(&self, grant: &UploadGrant, object: &LfsObject, body: S) -> Result<(), Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        if object.size_bytes > self.options().max_file_bytes {
            return Err(Error::TooLarge { what: "file".to_owned(), limit_bytes: self.options().max_file_bytes });
        }
        let mut ingest = Ingest::new(self.store());
        match take_in(&mut ingest, object, body).await {
            Ok(()) => {
                ingest.finish(&grant.repo, &grant.account).await?;
                Ok(())
            }
            Err(error) => {
                ingest.abort().await;
                Err(error)
            }
        }
    }

    /// Begins a multipart upload.
    pub async fn begin_multipart(&self, grant: &UploadGrant, object: &LfsObject) -> Result<UploadRecord, Error> {
        if object.size_bytes > self.options().max_file_bytes {
            return Err(Error::TooLarge { what: "file".to_owned(), limit_bytes: self.options().max_file_bytes });
        }
        let lifetime_ms = i64::try_from(self.options().upload_lifetime.as_millis()).unwrap_or(i64::MAX);
        let upload = UploadRecord {
            id: fresh_id()?,
            repo: grant.repo.clone(),
            account: grant.account.clone(),
            sha256: object.sha256,
            size_bytes: object.size_bytes,
            part_size_bytes: PART_BYTES,
            expires_at_ms: self.now_ms().saturating_add(lifetime_ms),
        };
        self.catalog().uploads().add(&upload).await?;
        Ok(upload)
    }

    /// Takes in one part (numbered from 1) and returns its entity tag.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when it has the wrong length.
    pub async fn put_part<S, E>(&self, upload: &str, number: u64, mut body: S) -> Result<String, Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        let upload = self.upload(upload).await?;
        let expected = part_len(&upload, number)
            .ok_or_else(|| Error::Malformed(format!("part {number} is beyond the end of the upload")))?;
        let mut object = self.store().blobs().begin(&part_key(&upload.id, number)).await?;
        let written: Result<(), Error> = async {
            while let Some(piece) = body.next().await {
                let piece = piece.map_err(cut_off)?;
                if object.written() + piece.len() as u64 > expected {
                    return Err(wrong_len("part", expected, "more".to_owned()));
                }
                object.write(&piece).await?;
            }
            if object.written() != expected {
                return Err(wrong_len("part", expected, format!("{} bytes", object.written())));
            }
            Ok(())
        }
        .await;
        if let Err(error) = written {
            object.abort().await;
            return Err(error);
        }
        object.finish().await?;
        Ok(part_tag(number, expected))
    }

    /// Puts the parts of an upload together.
    ///
    /// - `parts`: numbers and entity tags as the client collected them
    ///
    /// # Errors
    /// [`Error::Mismatch`] when a part is missing or the whole is not what was announced. The parts stay until they
    /// expire, so that missing ones can still be sent.
    pub async fn complete_multipart(&self, upload: &str, parts: &[(u64, String)]) -> Result<(), Error> {
        let upload = self.upload(upload).await?;
        let count = upload.size_bytes.div_ceil(upload.part_size_bytes);
        for number in 1..=count {
            let expected = part_tag(number, part_len(&upload, number).unwrap_or(0));
            let given = parts.iter().find(|(n, _)| *n == number).map(|(_, tag)| tag.trim_matches('"'));
            if given != Some(expected.as_str()) {
                return Err(Error::Mismatch {
                    what: "part of a multipart upload",
                    expected,
                    actual: given.map_or_else(|| format!("no part {number}"), crate::names::shorten),
                });
            }
        }
        let object = LfsObject { sha256: upload.sha256, size_bytes: upload.size_bytes };
        let grant = UploadGrant { repo: upload.repo.clone(), account: upload.account.clone() };
        let blobs = self.store().blobs();
        let pieces = (1..=count).flat_map(|number| {
            let len = part_len(&upload, number).unwrap_or(0);
            let key = part_key(&upload.id, number);
            (0..len.div_ceil(GATHER_BYTES as u64)).map(move |i| {
                let start = i * GATHER_BYTES as u64;
                (key.clone(), start..(start + GATHER_BYTES as u64).min(len))
            })
        });
        let body = futures::stream::iter(pieces).then(|(key, range)| async move { blobs.read(&key, range).await });
        self.lfs_put(&grant, &object, Box::pin(body)).await?;
        Ok(self.store().discard_upload(&upload.id).await?)
    }

    /// Checks that an object arrived.
    pub async fn lfs_verify(&self, repo: &Repo, object: &LfsObject) -> Result<(), Error> {
        let known = self.catalog().contents().records(&[object.sha256]).await?;
        let given = self.catalog().contents().given(&repo.record.key, &object.sha256).await?;
        match known.first() {
            Some(record) if given && record.size_bytes == object.size_bytes => Ok(()),
            Some(record) if given => {
                Err(wrong_len("object", object.size_bytes, format!("{} bytes", record.size_bytes)))
            }
            _ => Err(Error::NotFound { what: "object", name: object.sha256.to_string() }),
        }
    }

    /// Streams an LFS object of a repository.
    pub async fn lfs_get(&self, repo: &Repo, sha256: &Sha256) -> Result<Option<crate::browse::FileRecord>, Error> {
        if !self.catalog().contents().given(&repo.record.key, sha256).await? {
            return Ok(None);
        }
        let record = self.catalog().contents().records(&[*sha256]).await?.pop();
        Ok(record.map(|record| crate::browse::FileRecord {
            path: sha256.to_string(),
            oid: weighthouse_store::digest::GitOid([0; 20]),
            size_bytes: record.size_bytes,
            lfs: true,
            sha256: *sha256,
            file_hash: record.file_hash,
            retired: None,
        }))
    }

    /// Notes that a repository is given content which is on record, if the caller may have it.
    pub(crate) async fn give(
        &self,
        caller: &Caller,
        repo: &Repo,
        account: &Account,
        sha256: &Sha256,
    ) -> Result<bool, Error> {
        if self.catalog().contents().given(&repo.record.key, sha256).await? {
            return Ok(true);
        }
        if !self.readable(caller, repo, sha256).await? {
            return Ok(false);
        }
        let mut xorbs: Vec<_> = self.content(sha256).await?.terms.iter().map(|term| term.xorb).collect();
        xorbs.sort_unstable();
        xorbs.dedup();
        self.catalog().packs().hold(&xorbs, &repo.record.key, &account.id).await?;
        self.catalog().contents().give(&repo.record.key, sha256, self.now_ms()).await?;
        Ok(true)
    }

    async fn readable(&self, caller: &Caller, repo: &Repo, sha256: &Sha256) -> Result<bool, Error> {
        if self.catalog().contents().given(&repo.record.key, sha256).await? {
            return Ok(true);
        }
        Ok(self.catalog().repos().content_visible(&sha256.to_string(), &caller.viewer()).await?)
    }

    async fn upload(&self, id: &str) -> Result<UploadRecord, Error> {
        let upload = self.catalog().uploads().get(id).await?;
        upload.ok_or_else(|| Error::NotFound { what: "upload", name: crate::names::shorten(id) })
    }
}

async fn take_in<S, E>(ingest: &mut Ingest, object: &LfsObject, mut body: S) -> Result<(), Error>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    let mut gathered = BytesMut::with_capacity(GATHER_BYTES);
    let mut arrived = 0u64;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(cut_off)?;
        arrived += piece.len() as u64;
        if arrived > object.size_bytes {
            return Err(wrong_len("object", object.size_bytes, "more".to_owned()));
        }
        gathered.extend_from_slice(&piece);
        if gathered.len() >= GATHER_BYTES {
            ingest.push(gathered.split().freeze()).await?;
            gathered.reserve(GATHER_BYTES);
        }
    }
    ingest.push(gathered.freeze()).await?;
    let file = ingest.end_file().await?;
    if arrived != object.size_bytes {
        return Err(wrong_len("object", object.size_bytes, format!("{arrived} bytes")));
    }
    if file.sha256 != object.sha256 {
        return Err(Error::Mismatch {
            what: "SHA-256 of the object",
            expected: object.sha256.to_string(),
            actual: file.sha256.to_string(),
        });
    }
    Ok(())
}

fn part_key(upload: &str, number: u64) -> String {
    format!("uploads/{upload}/{number:05}")
}

fn part_len(upload: &UploadRecord, number: u64) -> Option<u64> {
    let start = number.checked_sub(1)?.checked_mul(upload.part_size_bytes)?;
    let left = upload.size_bytes.checked_sub(start).filter(|&left| left > 0)?;
    Some(left.min(upload.part_size_bytes))
}

fn part_tag(number: u64, len: u64) -> String {
    format!("{number}-{len}")
}

fn wrong_len(what: &'static str, expected: u64, actual: String) -> Error {
    Error::Mismatch { what, expected: format!("{expected} bytes of the {what}"), actual }
}

fn cut_off(error: impl std::fmt::Display) -> Error {
    Error::Malformed(format!("the upload broke off: {error}"))
}
