//! What is inside the checkpoints of a repository: tensors, modules, values, and what a reader found.
//!
//! ```text
//!   revision ──► StoredFolder (ranges of packs) ──► format::checkpoint ──► Inside, kept by tree
//!                                                                             ├── modules: the tree of names
//!                                                                             ├── values: windows, histograms, npy
//!                                                                             └── diagram: blocks of the architecture
//!   each commit ──► job ──► Inside ──► hashes, statistics, facts ──► catalog
//! ```
//! Everything is addressed by content: two repositories with the same files share what is known of them. Rights are
//! checked where a repository is opened, before anything here is asked.

mod place;
mod record;
pub mod series;
pub(crate) mod stored;
#[cfg(test)]
mod tests;
pub mod values;

use std::collections::HashMap;
use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use weighthouse_format::checkpoint::{self, Checkpoint};
use weighthouse_format::stats::Stats;
use weighthouse_format::{Format, FormatError, Limits, Tensor};
use weighthouse_store::StoreError;
use weighthouse_store::catalog::{TensorPlace, jobs};
use weighthouse_store::digest::{GitOid, Sha256};

use crate::access::{Caller, Repo};
use crate::browse::FileRecord;
use crate::revision::Revision;
use crate::{Error, Hub};

use crate::inspect::diagram::{Block, diagram};
use crate::inspect::modules::Modules;
use stored::{StoredFolder, explain};

pub use record::{Finding, Reading, ReadingOptimizer, ReadingParameters};

/// Changes whenever readings are made in a new way, so that stored ones count as old.
const VERSION: i64 = 1;
/// Memory for what was read, in bytes: about half a million tensors.
const CACHE_BYTES: u64 = 192 << 20;
/// Bytes that are read to answer one question: headers and indexes, not weights.
pub(crate) const QUESTION_BYTES: u64 = 2 << 30;
/// Questions that are worked on at once; each keeps a thread busy.
const WORKERS: usize = 2;
/// Questions that may wait.
const WAITING: usize = 64;
/// Most repositories and files in an answer of where else a tensor is.
const MAX_PLACES: u32 = 100;

/// A checkpoint in the files of a revision, without its weights.
#[derive(Debug)]
pub struct Inside {
    /// What was read; without the metadata that only takes room.
    pub checkpoint: Checkpoint,
    /// Names of the weights, sorted.
    pub weights: Modules,
    /// Names of the optimizer's tensors, sorted.
    pub optimizer: Modules,
    /// Facts of the GGUF file that was read, if it was one.
    pub gguf: Option<Value>,
    /// Files below `folder` that hold tensors.
    files: HashMap<Arc<str>, Arc<FileRecord>>,
    /// Folder of the repository that was read; empty, or with a slash at its end.
    folder: String,
}

/// A part of a checkpoint that has tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Part {
    /// Weights and buffers.
    #[default]
    Weights,
    /// State of the optimizer.
    Optimizer,
}

/// Statistics of a tensor as they are kept; values that are not finite count, and are left out of the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TensorStats {
    /// Finite numbers.
    pub finite: u64,
    /// Not a number.
    pub nan: u64,
    /// Infinities.
    pub infinite: u64,
    /// Zeros.
    pub zeros: u64,
    /// Smallest; `None` when no number is finite, as are the following.
    pub min: Option<f64>,
    /// Largest.
    pub max: Option<f64>,
    /// Mean.
    pub mean: Option<f64>,
    /// Standard deviation of the population.
    pub std: Option<f64>,
    /// Euclidean norm.
    pub norm: Option<f64>,
}

/// What the index knows of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Indexed {
    /// SHA-256 of the elements, row-major and little-endian; of quantised ones, of their blocks.
    pub hash: Sha256,
    /// Statistics; `None` for types that are no numbers.
    pub stats: Option<TensorStats>,
}

/// Where the reading of a commit stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// It is done.
    Done(Box<Reading>),
    /// It waits, or is under way.
    Waiting,
    /// It was tried and did not succeed; it may be tried again.
    Failed,
    /// Nobody asked for it, as for datasets.
    Never,
}

pub(crate) type InsideCache = Cache<(GitOid, String), Arc<Inside>, ByBytes, DefaultHashBuilder, Lifecycle>;
type Lifecycle = DefaultLifecycle<(GitOid, String), Arc<Inside>>;

#[derive(Clone, Debug)]
pub(crate) struct ByBytes;

impl Weighter<(GitOid, String), Arc<Inside>> for ByBytes {
    fn weight(&self, _: &(GitOid, String), inside: &Arc<Inside>) -> u64 {
        inside.weight()
    }
}

/// What questions about checkpoints share: what was read, and turns.
#[derive(Debug)]
pub(crate) struct Readers {
    cache: InsideCache,
    turns: Semaphore,
    waiting: Semaphore,
    /// Downloads of single tensors under way.
    pub(crate) downloads: Arc<Semaphore>,
}

impl Readers {
    pub fn new() -> Self {
        // One shard, so that a checkpoint of hundreds of thousands of tensors still fits.
        let options =
            OptionsBuilder::new().shards(1).estimated_items_capacity(200).weight_capacity(CACHE_BYTES).build();
        let cache = match options {
            Ok(options) => Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), Lifecycle::default()),
            Err(_) => Cache::with_weighter(200, CACHE_BYTES, ByBytes),
        };
        Self {
            cache,
            turns: Semaphore::new(WORKERS),
            waiting: Semaphore::new(WAITING),
            downloads: Arc::new(Semaphore::new(values::DOWNLOADS)),
        }
    }
}

impl From<Stats> for TensorStats {
    fn from(stats: Stats) -> Self {
        let known = |value: f64| Some(value).filter(|value| stats.finite > 0 && value.is_finite());
        Self {
            finite: stats.finite,
            nan: stats.nan,
            infinite: stats.infinite,
            zeros: stats.zeros,
            min: known(stats.min),
            max: known(stats.max),
            mean: known(stats.mean),
            std: known(stats.std()),
            norm: known(stats.norm()),
        }
    }
}

impl TensorStats {
    /// All numbers.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.finite + self.nan + self.infinite
    }
}

impl Part {
    /// The spelling in addresses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Optimizer => "optimizer",
        }
    }

    /// The part of this spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Weights, Self::Optimizer].into_iter().find(|part| part.as_str() == text)
    }
}

impl Inside {
    /// Reads a folder, or one file of it. On a blocking thread.
    fn read(folder: &StoredFolder, place: &str, file: Option<&str>) -> Result<Self, FormatError> {
        let limits = Limits::default();
        let mut checkpoint = match file {
            Some(file) => checkpoint::read_file(folder, file, &limits)?,
            None => checkpoint::read(folder, &limits)?,
        };
        let gguf = gguf_facts(&checkpoint);
        // Vocabularies and training logs are not asked for here.
        checkpoint.contents.metadata = Map::new();
        let mut files = HashMap::new();
        for tensor in checkpoint.tensors() {
            for piece in &tensor.pieces {
                if let weighthouse_format::tensor::Stored::File { file, .. } = &piece.stored
                    && !files.contains_key(file)
                    && let Some(record) = folder.record(file)
                {
                    files.insert(Arc::clone(file), Arc::clone(record));
                }
            }
        }
        let optimizer = checkpoint.contents.optimizer.as_ref().map(|optimizer| Modules::new(&optimizer.tensors));
        Ok(Self {
            weights: Modules::new(&checkpoint.contents.tensors),
            optimizer: optimizer.unwrap_or_default(),
            gguf,
            files,
            folder: place.to_owned(),
            checkpoint,
        })
    }

    /// The architecture as blocks.
    #[must_use]
    pub fn diagram(&self) -> Vec<Block> {
        diagram(&self.weights, self.tensors(Part::Weights))
    }

    /// Tensors of a part, in the order of the files.
    #[must_use]
    pub fn tensors(&self, part: Part) -> &[Tensor] {
        match part {
            Part::Weights => &self.checkpoint.contents.tensors,
            Part::Optimizer => self.checkpoint.contents.optimizer.as_ref().map_or(&[], |found| &found.tensors),
        }
    }

    /// Names of a part, sorted.
    #[must_use]
    pub fn modules(&self, part: Part) -> &Modules {
        match part {
            Part::Weights => &self.weights,
            Part::Optimizer => &self.optimizer,
        }
    }

    /// First file of a tensor, as a path of the repository, and the offset in it.
    #[must_use]
    pub fn place(&self, tensor: &Tensor) -> Option<(String, u64)> {
        tensor.place().map(|(file, offset)| (format!("{}{file}", self.folder), offset))
    }

    /// Number of files that hold elements of a tensor.
    #[must_use]
    pub fn files_of(&self, tensor: &Tensor) -> usize {
        let files = tensor.pieces.iter().filter_map(|piece| match &piece.stored {
            weighthouse_format::tensor::Stored::File { file, .. } => Some(file),
            _ => None,
        });
        files.collect::<std::collections::HashSet<_>>().len()
    }

    /// The tensor at a place of the index, for links from where names may differ.
    #[must_use]
    pub fn at_place(&self, place: &str) -> Option<(Part, &Tensor)> {
        [Part::Weights, Part::Optimizer].into_iter().find_map(|part| {
            let here = |tensor: &&Tensor| self.indexed_place(tensor).is_some_and(|found| found.place == place);
            Some((part, self.tensors(part).iter().find(here)?))
        })
    }

    fn indexed_place(&self, tensor: &Tensor) -> Option<place::Place> {
        place::of(tensor, |path| self.files.get(path).map(|record| record.sha256))
    }

    /// What the catalog says of a file that holds tensors, by its path below the folder that was read.
    pub(crate) fn file(&self, path: &str) -> Option<&Arc<FileRecord>> {
        self.files.get(path)
    }

    /// A folder of the files that hold tensors.
    pub(crate) fn stored(&self, hub: &Hub, budget_bytes: u64) -> StoredFolder {
        let files = self.files.iter().map(|(path, record)| (Arc::clone(path), Arc::clone(record)));
        StoredFolder::new(hub, files.collect(), budget_bytes)
    }

    /// Memory that this takes, about, in bytes.
    fn weight(&self) -> u64 {
        let of = |tensor: &Tensor| {
            let pieces: usize = tensor.pieces.iter().map(|piece| 200 + 16 * piece.filters.len()).sum();
            size_of::<Tensor>() + tensor.name.len() + 8 * tensor.shape.len() + pieces + 24
        };
        let tensors: usize = self.checkpoint.tensors().map(of).sum();
        let files: usize = self.checkpoint.files.iter().map(|file| 120 + file.path.len()).sum();
        let code: usize = self.checkpoint.contents.code.iter().map(|code| 80 + code.name.len()).sum();
        let warnings: usize = self.checkpoint.contents.warnings.iter().map(|w| 80 + w.message.len()).sum();
        (10_000 + tensors + files + code + warnings + 400 * self.files.len()) as u64
    }
}

/// `gguf` of a model's information, from the metadata of a GGUF file.
fn gguf_facts(checkpoint: &Checkpoint) -> Option<Value> {
    if !checkpoint.contents.formats.contains(&Format::Gguf) {
        return None;
    }
    let metadata = &checkpoint.contents.metadata;
    let short = |value: &Value| value.as_str().is_none_or(|text| text.len() <= 64 << 10);
    let found = |key: &str| metadata.get(key).filter(|value| short(value)).cloned();
    let mut facts = Map::new();
    facts.insert("total".to_owned(), checkpoint.parameters().total.into());
    let architecture = found("general.architecture").filter(Value::is_string);
    let context =
        architecture.as_ref().and_then(Value::as_str).and_then(|name| found(&format!("{name}.context_length")));
    let token = |key: &str| {
        let id = metadata.get(key)?.as_u64()?;
        let tokens = metadata.get("tokenizer.ggml.tokens")?.as_array()?;
        tokens.get(usize::try_from(id).ok()?).filter(|token| token.is_string()).cloned()
    };
    let size = checkpoint.files.iter().filter(|file| file.formats.contains(&Format::Gguf)).map(|file| file.size_bytes);
    let optional = [
        ("architecture", architecture.clone()),
        ("context_length", context.filter(Value::is_u64)),
        ("chat_template", found("tokenizer.chat_template").filter(Value::is_string)),
        ("bos_token", token("tokenizer.ggml.bos_token_id")),
        ("eos_token", token("tokenizer.ggml.eos_token_id")),
        ("quantize_imatrix_file", found("quantize.imatrix.file").filter(Value::is_string)),
        ("totalFileSize", Some(size.sum::<u64>().into())),
    ];
    facts.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
    Some(Value::Object(facts))
}

impl Hub {
    /// What is inside a revision: the checkpoint of all its files (`path` is empty), of one folder, or of one file.
    ///
    /// Answered from memory if it was asked before; otherwise headers are read, on a thread of their own.
    ///
    /// # Errors
    /// [`Error::EntryNotFound`] when there is no such path; [`Error::Malformed`] when the file is broken or of no known
    /// format, with the reader's words; a transient error when too many ask.
    pub async fn inside(&self, revision: &Revision, path: &str) -> Result<Arc<Inside>, Error> {
        let path = path.trim_matches('/');
        let key = (revision.commit.tree, path.to_owned());
        if let Some(found) = self.readers().cache.get(&key) {
            return Ok(found);
        }
        let busy = || Error::Busy { what: "reading checkpoints" };
        let _place = self.readers().waiting.try_acquire().map_err(|_| busy())?;
        let _turn = self.readers().turns.acquire().await.map_err(|_| busy())?;
        // Somebody who waited for the same may find it done.
        if let Some(found) = self.readers().cache.get(&key) {
            return Ok(found);
        }
        self.read_inside(revision, path, QUESTION_BYTES).await
    }

    /// The folder of a path that is read, and the one file of it if the path is that of a file. One file is read with
    /// those around it, which it may name; a folder with everything below it.
    pub(crate) async fn split(&self, revision: &Revision, path: &str) -> Result<(String, Option<String>), Error> {
        if path.is_empty() {
            return Ok((String::new(), None));
        }
        match self.file(revision, &revision.oid.to_string(), path).await {
            Ok(_) => Ok(match path.rsplit_once('/') {
                Some((folder, file)) => (format!("{folder}/"), Some(file.to_owned())),
                None => (String::new(), Some(path.to_owned())),
            }),
            Err(Error::EntryNotFound { .. }) => Ok((format!("{path}/"), None)),
            Err(error) => Err(error),
        }
    }

    /// Reads and keeps what is inside.
    pub(crate) async fn read_inside(
        &self,
        revision: &Revision,
        path: &str,
        budget_bytes: u64,
    ) -> Result<Arc<Inside>, Error> {
        let (folder, file) = self.split(revision, path).await?;
        let stored = StoredFolder::of(self, revision, &folder, budget_bytes).await?;
        let read = move || Inside::read(&stored, &folder, file.as_deref());
        let inside = tokio::task::spawn_blocking(read).await.map_err(task)?.map_err(explain)?;
        let inside = Arc::new(inside);
        self.readers().cache.insert((revision.commit.tree, path.to_owned()), Arc::clone(&inside));
        Ok(inside)
    }

    /// What the index knows of a tensor; `None` while it was not read whole.
    pub async fn indexed(&self, inside: &Inside, tensor: &Tensor) -> Result<Option<Indexed>, Error> {
        let Some(place) = inside.indexed_place(tensor) else { return Ok(None) };
        let record = self.catalog().tensors().get(&place.source, &place.place).await?;
        Ok(record.map(|record| Indexed { hash: record.hash, stats: serde_json::from_str(&record.statistics).ok() }))
    }

    /// What the index knows of several tensors, in their order.
    pub async fn indexed_all(&self, inside: &Inside, tensors: &[&Tensor]) -> Result<Vec<Option<Indexed>>, Error> {
        let places: Vec<Option<place::Place>> = tensors.iter().map(|tensor| inside.indexed_place(tensor)).collect();
        let mut by_source: HashMap<Sha256, Vec<String>> = HashMap::new();
        for place in places.iter().flatten() {
            by_source.entry(place.source).or_default().push(place.place.clone());
        }
        let mut found = HashMap::new();
        for (source, mut wanted) in by_source {
            wanted.sort_unstable();
            wanted.dedup();
            for record in self.catalog().tensors().several(&source, &wanted).await? {
                let indexed = Indexed { hash: record.hash, stats: serde_json::from_str(&record.statistics).ok() };
                found.insert((source, record.place), indexed);
            }
        }
        let of = |place: Option<place::Place>| found.get(&place.map(|place| (place.source, place.place))?).cloned();
        Ok(places.into_iter().map(of).collect())
    }

    /// Where a tensor with the same dtype, shape and elements lies, in repositories that the caller may see; at most 100
    /// answers, the place that was asked from among them.
    pub async fn places_of(&self, caller: &Caller, tensor: &Tensor, hash: &Sha256) -> Result<Vec<TensorPlace>, Error> {
        let what = (hash, tensor.dtype.as_str(), tensor.shape.as_slice());
        Ok(self.catalog().tensors().places(what, &caller.viewer(), MAX_PLACES).await?)
    }

    /// Where the reading of a commit stands.
    pub async fn reading(&self, repo: &Repo, revision: &Revision) -> Result<Progress, Error> {
        if let Some(reading) = self.kept_reading(revision).await? {
            return Ok(Progress::Done(Box::new(reading)));
        }
        let subject = record::subject(&repo.record.key, &revision.oid);
        Ok(match self.catalog().jobs().get(jobs::READ, &subject).await? {
            None => Progress::Never,
            // The log says why: the words of a storage or a database are no reader's business.
            Some(job) if !job.error.is_empty() && !job.held => Progress::Failed,
            Some(_) => Progress::Waiting,
        })
    }

    /// What was found in the files of a revision, if they were read.
    pub(crate) async fn kept_reading(&self, revision: &Revision) -> Result<Option<Reading>, Error> {
        let kept = self.catalog().readings().get(&revision.commit.tree, VERSION).await?;
        Ok(kept.and_then(|json| serde_json::from_str(&json).ok()))
    }
}

pub(crate) fn task(error: tokio::task::JoinError) -> Error {
    Error::Store(StoreError::Task(error.to_string()))
}
