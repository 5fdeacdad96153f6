//! The ways a file can take into a hub. Each is an error when the line breaks, and a panic when the hub refuses.

use std::io;

use serde_json::{Value, json};
use weighthouse::Sha256;
use weighthouse::format::xet::hash::HashTree;
use weighthouse::format::xet::shard::{Shard, ShardChunk, ShardFile, ShardXorb, Term};
use weighthouse::format::xet::xorb::{SchemeChoice, Xorb, XorbBuilder};

use crate::wire::{Answer, Wire};

/// A file that a hub has acknowledged.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    pub repo: String,
    pub commit: String,
    pub path: String,
    pub sha256: Sha256,
}

impl Acknowledged {
    /// Whether the hub still has it, byte for byte, at its commit and on the branch.
    #[track_caller]
    pub fn check(&self, hub: &Wire) {
        for revision in [self.commit.as_str(), "main"] {
            let answer = hub.get(&format!("/{}/resolve/{revision}/{}", self.repo, self.path)).unwrap();
            assert_eq!(answer.status, 200, "{self:?}: {}", answer.shown());
            assert_eq!(Sha256::of(&answer.body), self.sha256, "{self:?}");
        }
    }
}

/// Creates a repository, unless it is there.
pub fn create(hub: &Wire, repo: &str) {
    let (owner, name) = repo.split_once('/').unwrap();
    let answer = hub.post("/api/repos/create", &json!({ "name": name, "organization": owner })).unwrap();
    assert!(matches!(answer.status, 200 | 409), "{}", answer.shown());
}

/// A file inside a commit; it must be text.
pub fn plain(hub: &Wire, repo: &str, path: &str, text: &str) -> io::Result<Acknowledged> {
    let answer = commit(hub, repo, &plain_line(path, text))?;
    Ok(acknowledged(repo, path, text.as_bytes(), &answer.ok()))
}

/// Git LFS, in one body.
pub fn lfs(hub: &Wire, repo: &str, path: &str, data: &[u8]) -> io::Result<Acknowledged> {
    if let Some(href) = lfs_address(hub, repo, data)? {
        hub.ask("PUT", &href, data)?.ok();
    }
    let answer = commit(hub, repo, &lfs_line(path, data))?;
    Ok(acknowledged(repo, path, data, &answer.ok()))
}

/// Xet: a xorb, a shard, a commit.
pub fn xet(hub: &Wire, repo: &str, path: &str, data: &[u8]) -> io::Result<Acknowledged> {
    let (xorb, shard) = cut(data);
    let cas = xet_token(hub, repo)?;
    cas.ask("POST", &xorb_address(&xorb), &xorb.body)?.ok();
    cas.ask("POST", "/xet/v1/shards", &shard.to_upload().unwrap())?.ok();
    let answer = commit(hub, repo, &lfs_line(path, data))?;
    Ok(acknowledged(repo, path, data, &answer.ok()))
}

/// The last, short part of an LFS object in parts.
pub fn last_part(hub: &Wire, repo: &str, data: &[u8]) -> io::Result<Answer> {
    let href = last_part_address(hub, repo, data)?;
    hub.ask("PUT", &href, data)
}

/// Begins an LFS object in parts and returns the address of the last one, which is as long as `data`.
pub fn last_part_address(hub: &Wire, repo: &str, data: &[u8]) -> io::Result<String> {
    let size = (256 << 20) + data.len();
    let answer = batch(hub, repo, &Sha256::of(data), size, "multipart")?.ok().json();
    let parts = answer["objects"][0]["actions"]["upload"]["header"].as_object().unwrap().clone();
    Ok(parts["00005"].as_str().unwrap().to_owned())
}

/// Where the bytes of an LFS object go, unless the hub has them.
pub fn lfs_address(hub: &Wire, repo: &str, data: &[u8]) -> io::Result<Option<String>> {
    let answer = batch(hub, repo, &Sha256::of(data), data.len(), "basic")?.ok().json();
    Ok(answer["objects"][0]["actions"]["upload"]["href"].as_str().map(str::to_owned))
}

pub fn batch(hub: &Wire, repo: &str, sha256: &Sha256, size: usize, transfer: &str) -> io::Result<Answer> {
    let body = json!({
        "operation": "upload", "transfers": [transfer], "hash_algo": "sha256",
        "objects": [{ "oid": sha256.to_string(), "size": size }],
    });
    hub.post(&format!("/{repo}.git/info/lfs/objects/batch"), &body)
}

pub fn xet_token(hub: &Wire, repo: &str) -> io::Result<Wire> {
    let answer = hub.get(&format!("/api/models/{repo}/xet-write-token/main"))?.ok();
    Ok(hub.with_token(answer.json()["accessToken"].as_str().unwrap()))
}

pub fn xorb_address(xorb: &Xorb) -> String {
    format!("/xet/v1/xorbs/default/{}", xorb.listing.hash)
}

/// One commit of one line.
pub fn commit(hub: &Wire, repo: &str, line: &Value) -> io::Result<Answer> {
    let header = json!({ "key": "header", "value": { "summary": "A file", "description": "" } });
    hub.ask("POST", &format!("/api/models/{repo}/commit/main"), format!("{header}\n{line}\n").as_bytes())
}

pub fn plain_line(path: &str, text: &str) -> Value {
    json!({ "key": "file", "value": { "path": path, "content": text, "encoding": "utf-8" } })
}

pub fn lfs_line(path: &str, data: &[u8]) -> Value {
    let oid = Sha256::of(data).to_string();
    json!({ "key": "lfsFile", "value": { "path": path, "algo": "sha256", "oid": oid, "size": data.len() } })
}

fn acknowledged(repo: &str, path: &str, data: &[u8], answer: &Answer) -> Acknowledged {
    let commit = answer.json()["commitOid"].as_str().unwrap().to_owned();
    Acknowledged { repo: repo.to_owned(), commit, path: path.to_owned(), sha256: Sha256::of(data) }
}

/// A file as one xorb and the shard that claims it.
pub fn cut(data: &[u8]) -> (Xorb, Shard) {
    let mut builder = XorbBuilder::new(SchemeChoice::Auto);
    let mut tree = HashTree::new();
    for chunk in data.chunks(60_000) {
        tree.push(builder.push(chunk).unwrap(), chunk.len() as u64);
    }
    let xorb = builder.finish().unwrap();
    let listing = &xorb.listing;
    let end = u32::try_from(listing.chunks.len()).unwrap();
    let mut offset = 0;
    let chunks = listing.chunks.iter().map(|chunk| {
        let listed = ShardChunk { hash: chunk.hash, offset, raw_len: chunk.raw_len, dedup_candidate: false };
        offset += chunk.raw_len;
        listed
    });
    let listed = ShardXorb {
        hash: listing.hash,
        raw_bytes: listing.raw_len,
        stored_bytes: listing.body_len,
        chunks: chunks.collect(),
    };
    let file = ShardFile {
        file_hash: tree.file_hash(),
        terms: vec![Term { xorb: listing.hash, unpacked_bytes: listing.raw_len, start: 0, end }],
        range_hashes: Some(vec![listing.range_hash(0..end).unwrap()]),
        sha256: Some(Sha256::of(data).0),
    };
    let shard = Shard { files: vec![file], xorbs: vec![listed] };
    (xorb, shard)
}
