//! What is known of contents while a plan is made: where their bytes lie, who has looked at them, what they need.

use std::collections::HashMap;
use std::sync::Arc;

use weighthouse_format::xet::hash::XetHash;
use weighthouse_store::catalog::{Content, Standing};
use weighthouse_store::digest::Sha256;

use crate::{Error, Hub};

/// A content and how its xorbs are coded.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub content: Arc<Content>,
    /// Whether the present encoder has looked at all of its xorbs.
    pub is_seen: bool,
    /// How deep the deepest of its xorbs lies.
    pub depth: u64,
}

/// Contents that were looked up, each once.
#[derive(Debug)]
pub(super) struct Contents<'a> {
    hub: &'a Hub,
    encoder: u64,
    found: HashMap<Sha256, Option<Known>>,
    xorbs: HashMap<XetHash, Option<Standing>>,
}

impl<'a> Contents<'a> {
    pub fn new(hub: &'a Hub, encoder: u64) -> Self {
        Self { hub, encoder, found: HashMap::new(), xorbs: HashMap::new() }
    }

    /// What is known of a content; `None` when it is not on record.
    pub async fn get(&mut self, sha256: &Sha256) -> Result<Option<Known>, Error> {
        if let Some(found) = self.found.get(sha256) {
            return Ok(found.clone());
        }
        let content = self.hub.catalog().contents().get(sha256).await?;
        let found = match content {
            Some(content) => Some(self.known(content).await?),
            None => None,
        };
        self.found.insert(*sha256, found.clone());
        Ok(found)
    }

    async fn known(&mut self, content: Content) -> Result<Known, Error> {
        let hashes = xorbs(&content);
        let open: Vec<XetHash> = hashes.iter().copied().filter(|hash| !self.xorbs.contains_key(hash)).collect();
        self.xorbs.extend(open.iter().map(|hash| (*hash, None)));
        for standing in self.hub.catalog().coding().several(&open).await? {
            self.xorbs.insert(standing.xorb, Some(standing));
        }
        let (mut is_seen, mut depth) = (true, 0);
        for standing in hashes.iter().map(|hash| self.xorbs.get(hash).copied().flatten()) {
            is_seen &= standing.is_some_and(|standing| standing.encoder >= self.encoder);
            depth = depth.max(standing.map_or(0, |standing| standing.depth));
        }
        Ok(Known { content: Arc::new(content), is_seen, depth })
    }
}

/// Xorbs of a content, each once, in the order of the file.
pub(super) fn xorbs(content: &Content) -> Vec<XetHash> {
    let mut seen = std::collections::HashSet::new();
    content.terms.iter().map(|term| term.xorb).filter(|xorb| seen.insert(*xorb)).collect()
}
