//! The advisories that stand, as they were last read.
//!
//! Every commit is matched with all of them, and they change seldom. What says whether they changed is the list of feeds in
//! the catalog, which is short and is asked each time: a feed changes only together with its digest and its time, whichever
//! server takes it in.

use std::sync::{Arc, Mutex, PoisonError};

use weighthouse_store::digest::Sha256;
use weighthouse_trust::advisory::Index;

use super::read;
use crate::checkpoints::task;
use crate::{Error, Hub};

/// Name, digest and time of each feed.
type State = Vec<(String, Sha256, i64)>;

#[derive(Debug, Default)]
pub(crate) struct AdviceCache(Mutex<Option<(State, Arc<Index>)>>);

impl AdviceCache {
    fn get(&self, state: &State) -> Option<Arc<Index>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().filter(|(of, _)| of == state).map(|(_, index)| Arc::clone(index))
    }

    fn put(&self, state: State, index: &Arc<Index>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((state, Arc::clone(index)));
    }
}

impl Hub {
    /// The advisories that stand.
    pub(super) async fn advice(&self) -> Result<Arc<Index>, Error> {
        let state = self.advice_state().await?;
        if let Some(index) = self.advice_cache().get(&state) {
            return Ok(index);
        }
        let records = self.catalog().advisories().all().await?;
        let parse = move || Index::new(records.iter().filter_map(|record| read(&record.document)).collect());
        let index = Arc::new(tokio::task::spawn_blocking(parse).await.map_err(task)?);
        // What changed while it was read is read again the next time.
        if self.advice_state().await? == state {
            self.advice_cache().put(state, &index);
        }
        Ok(index)
    }

    async fn advice_state(&self) -> Result<State, Error> {
        let feeds = self.catalog().advisories().feeds().await?;
        Ok(feeds.into_iter().map(|feed| (feed.name, feed.digest, feed.imported_at_ms)).collect())
    }
}
