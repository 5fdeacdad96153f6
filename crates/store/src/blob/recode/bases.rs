//! Contents that blocks may be coded against.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use weighthouse_format::xet::hash::XetHash;

use crate::Store;
use crate::catalog::{Content, XorbRecord};
use crate::digest::Sha256;
use crate::error::StoreError;

/// A content that can be a base.
#[derive(Debug)]
pub(super) struct Base {
    pub sha256: Sha256,
    pub size_bytes: u64,
    /// All of its xorbs.
    pub xorbs: BTreeSet<XetHash>,
    /// The greatest of their depths.
    pub depth: u64,
}

/// Bases that were looked up.
pub(super) struct Bases<'a> {
    store: &'a Store,
    known: HashMap<Sha256, Option<Arc<Base>>>,
}

impl<'a> Bases<'a> {
    pub fn new(store: &'a Store) -> Self {
        Self { store, known: HashMap::new() }
    }

    /// A content, if a xorb may be coded against it.
    ///
    /// - `most`: how deep the xorb may come to lie
    pub async fn get(
        &mut self,
        sha256: &Sha256,
        xorb: &XorbRecord,
        most: u64,
    ) -> Result<Option<Arc<Base>>, StoreError> {
        let base = match self.known.get(sha256) {
            Some(base) => base.clone(),
            None => {
                let base = self.look_up(sha256).await?.map(Arc::new);
                self.known.insert(*sha256, base.clone());
                base
            }
        };
        Ok(base.filter(|base| base.depth < most && !base.xorbs.contains(&xorb.hash)))
    }

    async fn look_up(&self, sha256: &Sha256) -> Result<Option<Base>, StoreError> {
        let Some(content) = self.store.content(sha256).await? else { return Ok(None) };
        let Content { record, terms } = &*content;
        let xorbs: BTreeSet<XetHash> = terms.iter().map(|term| term.xorb).collect();
        let hashes: Vec<XetHash> = xorbs.iter().copied().collect();
        let records = self.store.catalog().packs().xorbs(&hashes).await?;
        if records.len() != xorbs.len() {
            return Ok(None);
        }
        let depth = records.iter().map(|record| record.depth).max().unwrap_or(0);
        Ok(Some(Base { sha256: *sha256, size_bytes: record.size_bytes, xorbs, depth }))
    }
}
