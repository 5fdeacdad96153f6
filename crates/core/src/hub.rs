//! Opening a hub: its folder, its catalog, its bytes and its secret.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Mutex, MutexGuard, Notify};

use quick_cache::sync::Cache;
use weighthouse_store::catalog::{Catalog, RepoKey};
use weighthouse_store::digest::GitOid;
use weighthouse_store::repo::commit::Commit;
use weighthouse_store::{Blobs, Clock, FolderLock, Store};

use crate::Error;
use crate::access::CallerCache;
use crate::advisories::AdviceCache;
use crate::browse::FileCache;
use crate::checkpoints::Readers;
use crate::comparisons::{DocumentCache, document_cache};
use crate::conversions::OfferCache;
use crate::gate::{Gate, Scanner};
use crate::jobs::Line;
use crate::policies::{PolicyCache, Recorder};
use crate::repack::{Level, RepackPolicy};
use crate::usage::{HubUsageCache, UsageCache};

/// Where the bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// Below the data folder.
    Folder,
    /// An S3-compatible service, `s3://BUCKET[/PREFIX]`.
    S3(String),
    /// Memory, for tests.
    Memory,
}

/// How to open a hub.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HubOptions {
    /// Folder of the embedded catalog and bytes.
    pub data: PathBuf,
    /// `postgres://…`; `None` is SQLite in the data folder.
    pub database: Option<String>,
    /// Where the bytes go.
    pub storage: Storage,
    /// Whether this process serves: it then holds an embedded data folder alone and clears up after killed ones.
    /// Administration runs beside a server without it.
    pub exclusive: bool,
    /// Largest file that may come inside a commit, in bytes; larger ones go through Git LFS or Xet.
    pub max_regular_bytes: u64,
    /// Largest file, in bytes.
    pub max_file_bytes: u64,
    /// How long an unfinished upload is kept.
    pub upload_lifetime: Duration,
    /// Who judges files, and by which rules.
    pub scanner: Scanner,
    /// What is done with stored files in the background.
    pub repack: RepackPolicy,
    /// How much time it spends for size.
    pub repack_level: Level,
    /// How much of one core that may take, more than 0 and at most 1.
    pub repack_share: f64,
    /// Room for plain copies of the files that are read most, in bytes; they lie below the data folder of a process that
    /// serves. 0 makes none.
    pub hot_bytes: u64,
    /// The time.
    pub clock: Clock,
}

impl HubOptions {
    /// The defaults, over a data folder.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            database: None,
            storage: Storage::Folder,
            exclusive: true,
            max_regular_bytes: 10 << 20,
            max_file_bytes: 5 << 40,
            upload_lifetime: Duration::from_secs(24 * 3600),
            scanner: Scanner::default(),
            repack: RepackPolicy::default(),
            repack_level: Level::default(),
            repack_share: 0.5,
            hot_bytes: 0,
            clock: Clock::system(),
        }
    }
}

/// A hub; cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: Store,
    options: HubOptions,
    secret: [u8; 32],
    callers: CallerCache,
    files: FileCache,
    commits: Cache<(RepoKey, GitOid), Arc<Commit>>,
    /// Commits to one repository take turns; repositories share the gates by chance.
    turns: [Mutex<()>; 64],
    readers: Readers,
    /// Told when there is work, by line.
    work: [Notify; 4],
    /// Told when upkeep has to look up.
    upkeep: Notify,
    /// Verdicts, and turns of the scanner.
    gate: Gate,
    /// Which forms the checkpoints of trees can be had in.
    offers: OfferCache,
    /// Comparisons as they were read.
    documents: DocumentCache,
    policies: PolicyCache,
    advice: AdviceCache,
    recorder: Recorder,
    /// Accounts of repositories and of the hub, for a few seconds.
    usage: UsageCache,
    hub_usage: HubUsageCache,
    stopping: AtomicBool,
    /// Held while an embedded folder is open.
    _lock: Option<FolderLock>,
}

impl Hub {
    /// Opens a hub, creating what is missing.
    ///
    /// # Errors
    /// [`weighthouse_store::StoreError::Locked`] when another process has the data folder open.
    pub async fn open(options: HubOptions) -> Result<Self, Error> {
        // Whoever keeps its state elsewhere shares it, and may run many times.
        let embedded = options.database.is_none() || options.storage == Storage::Folder;
        let lock = if embedded && options.exclusive { Some(FolderLock::take(&options.data)?) } else { None };
        std::fs::create_dir_all(&options.data)
            .map_err(|e| Error::Malformed(format!("data folder `{}`: {e}", options.data.display())))?;
        let catalog = match &options.database {
            Some(url) => Catalog::postgres(url).await?,
            None => Catalog::sqlite(&options.data.join("catalog.sqlite")).await?,
        };
        let blobs = match &options.storage {
            Storage::Folder => Blobs::local(options.data.join("blobs"))?,
            Storage::S3(url) => Blobs::s3(url)?,
            Storage::Memory => Blobs::memory(),
        };
        let secret = shared_secret(&catalog).await?;
        let mut store = Store::new(catalog, blobs, options.clock.clone());
        if options.exclusive && options.hot_bytes > 0 {
            store = store.with_hot(&options.data.join("hot"), options.hot_bytes)?;
        }
        if lock.is_some() {
            // Alone, every unfinished pack is a dead one.
            let swept = store.sweep(i64::MAX).await?;
            if swept > 0 {
                tracing::info!(packs = swept, "removed what interrupted uploads left");
            }
            store.catalog().jobs().release(options.clock.now_ms()).await?;
        }
        Ok(Self(Arc::new(Parts {
            store,
            options,
            secret,
            callers: CallerCache::new(1_000),
            files: FileCache::new(20_000),
            commits: Cache::new(10_000),
            turns: std::array::from_fn(|_| Mutex::new(())),
            readers: Readers::new(),
            work: Default::default(),
            upkeep: Notify::new(),
            gate: Gate::new(),
            offers: OfferCache::new(200),
            documents: document_cache(),
            policies: PolicyCache::default(),
            advice: AdviceCache::default(),
            recorder: Recorder::default(),
            usage: UsageCache::new(200),
            hub_usage: HubUsageCache::new(1),
            stopping: AtomicBool::new(false),
            _lock: lock,
        })))
    }

    /// A key derived from the hub's secret for one purpose; the same in every process of the hub.
    pub fn key(&self, purpose: &str) -> [u8; 32] {
        use sha2::Digest;
        let mut hasher = sha2::Sha256::new();
        hasher.update(self.0.secret);
        hasher.update(purpose);
        hasher.finalize().into()
    }

    /// How this hub was opened.
    pub fn options(&self) -> &HubOptions {
        &self.0.options
    }

    /// Answers when the database does.
    pub async fn ping(&self) -> Result<(), Error> {
        Ok(self.store().catalog().ping().await?)
    }

    /// Removes what expired: unfinished uploads, old records of requests. Cheap; run it now and then.
    pub async fn tidy(&self) -> Result<(), Error> {
        let now_ms = self.now_ms();
        let day_ms = 24 * 3_600_000;
        self.store().sweep(now_ms - day_ms).await?;
        self.write_down().await?;
        self.forget_decisions().await?;
        Ok(self.store().catalog().commits().forget_requests(now_ms - day_ms).await?)
    }

    /// Tells the worker to stop; what it is doing will be done again.
    pub fn stop_work(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
        self.0.work.iter().for_each(Notify::notify_one);
        self.0.upkeep.notify_one();
    }

    /// Stops work in the background, finishes database work and lets go.
    pub async fn close(&self) {
        self.stop_work();
        if let Err(error) = self.write_down().await {
            tracing::warn!(%error, "what was decided last is not on record for dry runs");
        }
        self.store().catalog().close().await;
    }

    /// Sealed packs, and their bytes.
    pub async fn stored_bytes(&self) -> Result<(u64, u64), Error> {
        Ok(self.store().catalog().packs().totals().await?)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        self.0.store.catalog()
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.0.readers
    }

    /// Told when there is work for a line.
    pub(crate) fn work_waits(&self, line: Line) -> &Notify {
        match line {
            Line::Judging => &self.0.work[0],
            Line::Reading => &self.0.work[1],
            Line::Making => &self.0.work[2],
            Line::Packing => &self.0.work[3],
        }
    }

    pub(crate) fn upkeep_waits(&self) -> &Notify {
        &self.0.upkeep
    }

    pub(crate) fn usage_cache(&self) -> &UsageCache {
        &self.0.usage
    }

    pub(crate) fn hub_usage_cache(&self) -> &HubUsageCache {
        &self.0.hub_usage
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub(crate) fn documents(&self) -> &DocumentCache {
        &self.0.documents
    }

    pub(crate) fn offer_cache(&self) -> &OfferCache {
        &self.0.offers
    }

    /// Whether the hub is being closed.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn policy_cache(&self) -> &PolicyCache {
        &self.0.policies
    }

    pub(crate) fn advice_cache(&self) -> &AdviceCache {
        &self.0.advice
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    pub(crate) fn callers(&self) -> &CallerCache {
        &self.0.callers
    }

    pub(crate) fn files(&self) -> &FileCache {
        &self.0.files
    }

    pub(crate) fn commit_cache(&self) -> &Cache<(RepoKey, GitOid), Arc<Commit>> {
        &self.0.commits
    }

    /// Waits until no other commit to the repository is being made in this process.
    pub(crate) async fn commit_turn(&self, repo: &RepoKey) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        repo.hash(&mut hasher);
        let gate = hasher.finish() as usize % self.0.turns.len();
        self.0.turns[gate].lock().await
    }

    /// Milliseconds since 1970, UTC.
    pub fn now_ms(&self) -> i64 {
        self.0.options.clock.now_ms()
    }
}

async fn shared_secret(catalog: &Catalog) -> Result<[u8; 32], Error> {
    let mut fresh = [0; 32];
    getrandom::fill(&mut fresh).map_err(|e| Error::Malformed(format!("no randomness: {e}")))?;
    let stored = catalog.settings().get_or_insert("secret", &hex::encode(fresh)).await?;
    let mut secret = [0; 32];
    hex::decode_to_slice(&stored, &mut secret).map_err(|_| {
        Error::Store(weighthouse_store::StoreError::Corrupt {
            what: "setting `secret`".to_owned(),
            detail: "it is not 64 hexadecimal digits".to_owned(),
        })
    })?;
    Ok(secret)
}
