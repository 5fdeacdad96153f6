//! Reading what a commit brought: facts of its checkpoint, and every tensor into the index.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Digest;
use tokio::runtime::Handle;
use weighthouse_format::checkpoint::Parameters;
use weighthouse_format::contents::WarningKind;
use weighthouse_format::data::Elements;
use weighthouse_format::stats::Stats;
use weighthouse_format::{ErrorKind, Format, FormatError, Limits, Tensor};
use weighthouse_store::catalog::{Job, RepoKey, RepoSource, SourceId, TensorRecord};
use weighthouse_store::digest::{GitOid, Sha256};

use super::place::{self, Place};
use super::stored::{StoredFolder, explain};
use super::{Inside, TensorStats, VERSION, task};
use crate::revision::{MAIN, Revision};
use crate::{Error, Hub, RepoKind};

/// Bytes of a tensor that are read at once.
const BAND_BYTES: u64 = 4 << 20;
/// Tensors that are recorded together.
const BATCH: usize = 1_000;
/// Bytes of tensors after which they are recorded, so that a killed worker loses little.
const BATCH_BYTES: u64 = 1 << 30;
/// Warnings that are kept.
const MAX_WARNINGS: usize = 100;
/// Longest warning that is kept, in characters.
const MAX_WARNING_CHARS: usize = 400;

/// What is known of the checkpoint in a revision. Everything was read from its files; nothing is a claim of a card.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Reading {
    /// Formats and layouts, the outermost first.
    pub formats: Vec<String>,
    /// Family of the architecture, such as `llama`.
    pub family: Option<String>,
    /// Class of the architecture, such as `LlamaForCausalLM`.
    pub class: Option<String>,
    /// Sizes, in the words of transformers.
    pub sizes: BTreeMap<String, u64>,
    /// Parameters.
    pub parameters: ReadingParameters,
    /// State of an optimizer.
    pub optimizer: Option<ReadingOptimizer>,
    /// Facts of the GGUF file, as in the Hub's model information.
    pub gguf: Option<Value>,
    /// Tensors of the weights.
    pub tensors: u64,
    /// What a person should know.
    pub warnings: Vec<Finding>,
    /// Why nothing could be read.
    pub failure: Option<String>,
}

/// Numbers of parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ReadingParameters {
    /// Elements of weights; what shares its bytes counts once.
    pub total: u64,
    /// The same by element type.
    pub by_dtype: BTreeMap<String, u64>,
    /// Elements of buffers.
    pub buffers: u64,
    /// Elements that share their bytes with others.
    pub shared: u64,
}

/// State of an optimizer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ReadingOptimizer {
    /// Kind, such as `Adam`.
    pub kind: Option<String>,
    /// Steps taken.
    pub step: Option<u64>,
    /// Tensors.
    pub tensors: u64,
}

/// Something that a person should know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Finding {
    /// Kind, such as `missing`.
    pub kind: String,
    /// Path of the file; empty when it concerns the whole.
    pub file: String,
    /// Sentence fragment.
    pub message: String,
}

impl ReadingParameters {
    /// Numbers of a checkpoint, by the spelling of its types.
    #[must_use]
    pub fn of(count: &Parameters) -> Self {
        Self {
            total: count.total,
            by_dtype: count.by_dtype.iter().map(|(dtype, count)| (dtype.to_string(), *count)).collect(),
            buffers: count.buffers,
            shared: count.shared,
        }
    }
}

/// Subject of the job that reads a commit.
pub(crate) fn subject(repo: &RepoKey, commit: &GitOid) -> String {
    format!("{repo} {commit}")
}

impl Hub {
    /// Does the work of a job: reads a commit and records what is in it. Once more is no harm.
    pub(crate) async fn read_commit(&self, job: &Job) -> Result<(), Error> {
        let parts = job.subject.split_once(' ').and_then(|(repo, oid)| Some((repo, oid.parse::<GitOid>().ok()?)));
        let Some((repo, oid)) = parts else { return Ok(()) };
        let key = RepoKey::from(repo.to_owned());
        let Some(record) = self.catalog().repos().get(&key).await? else { return Ok(()) };
        // The files of a dataset are its own affair: there may be millions, and none of them weights.
        if record.kind != RepoKind::Model {
            return Ok(());
        }
        let Ok(revision) = self.known_commit(&key, oid).await else { return Ok(()) };
        let reading = match self.kept_reading(&revision).await? {
            Some(reading) if reading.failure.is_some() => reading,
            _ => self.read_tree(&key, &revision).await?,
        };
        let json = serde_json::to_string(&reading).map_err(|error| Error::Malformed(error.to_string()))?;
        self.catalog().readings().set(&revision.commit.tree, VERSION, &json).await?;
        let _turn = self.commit_turn(&key).await;
        let head = self.catalog().refs().read(&key, &format!("refs/heads/{MAIN}")).await?;
        if head == Some(oid) {
            self.keep_reading(&key, reading).await?;
        }
        Ok(())
    }

    async fn read_tree(&self, repo: &RepoKey, revision: &Revision) -> Result<Reading, Error> {
        let inside = match self.read_inside(revision, "", u64::MAX).await {
            Ok(inside) => inside,
            // The files are what is wrong, and they stay so.
            Err(Error::Malformed(failure)) => return Ok(Reading { failure: Some(failure), ..Reading::default() }),
            Err(error) => return Err(error),
        };
        let folder = StoredFolder::of(self, revision, "", u64::MAX).await?;
        let indexer = Indexer {
            hub: self.clone(),
            runtime: Handle::current(),
            folder,
            limits: Limits::default(),
            sources: HashMap::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            seen: HashMap::new(),
        };
        let (repo, oid) = (repo.clone(), revision.oid);
        tokio::task::spawn_blocking(move || indexer.run(&inside, &repo, oid)).await.map_err(task)?
    }
}

/// Puts the tensors of a revision into the index. Lives on a blocking thread.
struct Indexer {
    hub: Hub,
    runtime: Handle,
    folder: StoredFolder,
    limits: Limits,
    /// Sources that occurred.
    sources: HashMap<Sha256, Source>,
    pending: Vec<(SourceId, TensorRecord)>,
    pending_bytes: u64,
    /// Places that are on record or wait to be, and how many NaN and infinities are there.
    seen: HashMap<(SourceId, String), (u64, u64)>,
}

struct Source {
    id: SourceId,
    path: String,
    page: String,
}

impl Indexer {
    fn run(mut self, inside: &Inside, repo: &RepoKey, commit: GitOid) -> Result<Reading, Error> {
        let mut reading = describe(inside);
        for tensor in inside.checkpoint.tensors() {
            self.index(tensor, "", &mut reading)?;
        }
        // The same weights in other forms are found too.
        let mut gguf = inside.gguf.clone();
        for other in &inside.checkpoint.others {
            for file in &other.files {
                let alone = match Inside::read(&self.folder, "", Some(file)) {
                    Ok(alone) => alone,
                    Err(error) if error.kind() == ErrorKind::Io => return Err(explain(error)),
                    // The reader of the whole has said so already.
                    Err(_) => continue,
                };
                if gguf.is_none() && other.format == Format::Gguf {
                    gguf.clone_from(&alone.gguf);
                }
                for tensor in alone.checkpoint.tensors() {
                    self.index(tensor, file, &mut reading)?;
                }
            }
        }
        self.flush()?;
        reading.gguf = gguf;
        let found = self.sources.into_values();
        let found = found.map(|source| RepoSource { source: source.id, path: source.path, page: source.page });
        let found: Vec<RepoSource> = found.collect();
        self.runtime.block_on(self.hub.catalog().tensors().note(repo, &commit, &found))?;
        Ok(reading)
    }

    /// Reads a tensor whole, unless it is on record, and has it recorded. `page` is the file that was read alone, if any.
    fn index(&mut self, tensor: &Tensor, page: &str, reading: &mut Reading) -> Result<(), Error> {
        let folder = &self.folder;
        let Some(place) = place::of(tensor, |path| folder.record(path).map(|record| record.sha256)) else {
            return Ok(());
        };
        let source = self.source(&place, page)?;
        if tensor.dtype.block_bytes() == 0 {
            return Ok(());
        }
        let key = (source, place.place.clone());
        if let Some(&odd) = self.seen.get(&key) {
            note_values(reading, tensor, &place, odd);
            return Ok(());
        }
        match self.read(tensor) {
            Ok((hash, stats)) => {
                let statistics = match stats {
                    Some(stats) => serde_json::to_string(&TensorStats::from(stats)).unwrap_or_default(),
                    None => String::new(),
                };
                let record = TensorRecord {
                    place: place.place.clone(),
                    name: tensor.name.clone(),
                    dtype: tensor.dtype.to_string(),
                    shape: tensor.shape.clone(),
                    size_bytes: tensor.size_bytes(),
                    offset: place.offset,
                    hash,
                    statistics,
                };
                self.pending_bytes = self.pending_bytes.saturating_add(record.size_bytes);
                self.pending.push((source, record));
                if self.pending.len() >= BATCH || self.pending_bytes >= BATCH_BYTES {
                    self.flush()?;
                }
                let odd = stats.map_or((0, 0), |stats| (stats.nan, stats.infinite));
                note_values(reading, tensor, &place, odd);
                self.seen.insert(key, odd);
            }
            Err(error) if error.kind() == ErrorKind::Io => return Err(explain(error)),
            Err(error) => {
                let message = format!("tensor `{}` cannot be read: {error}", tensor.name.escape_default());
                note(reading, WarningKind::Unreadable, &place.path, &message);
            }
        }
        Ok(())
    }

    /// The source of a place; when it occurs first, what is on record of it is looked up.
    fn source(&mut self, place: &Place, page: &str) -> Result<SourceId, Error> {
        if let Some(source) = self.sources.get(&place.source) {
            return Ok(source.id);
        }
        let tensors = self.hub.catalog().tensors();
        let id = self.runtime.block_on(tensors.source(&place.source))?;
        let known = self.runtime.block_on(tensors.known(id))?;
        self.seen.extend(known.into_iter().map(|(place, statistics)| ((id, place), odd_values(&statistics))));
        let source = Source { id, path: place.path.clone(), page: page.to_owned() };
        self.sources.insert(place.source, source);
        Ok(id)
    }

    /// SHA-256 and statistics, in one pass.
    fn read(&self, tensor: &Tensor) -> Result<(Sha256, Option<Stats>), FormatError> {
        let mut elements = Elements::new(&self.folder, tensor, &self.limits)?;
        let mut hasher = sha2::Sha256::new();
        let mut stats = Some(Stats::default());
        elements.bands::<FormatError>(BAND_BYTES, |band| {
            hasher.update(band);
            stats = stats.take().and_then(|mut sum| {
                // Types that are no numbers have a hash all the same.
                sum.merge(&Stats::of(tensor.dtype, band).ok()?);
                Some(sum)
            });
            Ok(())
        })?;
        Ok((Sha256(hasher.finalize().into()), stats))
    }

    fn flush(&mut self) -> Result<(), Error> {
        let mut by_source: HashMap<SourceId, Vec<TensorRecord>> = HashMap::new();
        for (source, record) in self.pending.drain(..) {
            by_source.entry(source).or_default().push(record);
        }
        self.pending_bytes = 0;
        for (source, records) in by_source {
            self.runtime.block_on(self.hub.catalog().tensors().add(source, &records))?;
        }
        Ok(())
    }
}

/// NaN and infinities of kept statistics.
fn odd_values(statistics: &str) -> (u64, u64) {
    let stats: TensorStats = serde_json::from_str(statistics).unwrap_or_default();
    (stats.nan, stats.infinite)
}

fn note_values(reading: &mut Reading, tensor: &Tensor, place: &Place, (nan, infinite): (u64, u64)) {
    if nan + infinite > 0 {
        let name = tensor.name.escape_default();
        let message = format!("tensor `{name}` has {nan} NaN and {infinite} infinite values");
        note(reading, WarningKind::Values, &place.path, &message);
    }
}

/// What the headers say.
fn describe(inside: &Inside) -> Reading {
    let contents = &inside.checkpoint.contents;
    let mut reading = Reading {
        formats: contents.formats.iter().map(Format::to_string).collect(),
        family: contents.architecture.family.as_deref().map(short),
        class: contents.architecture.class.as_deref().map(short),
        sizes: contents.architecture.sizes.clone(),
        parameters: ReadingParameters::of(&inside.checkpoint.parameters()),
        optimizer: contents.optimizer.as_ref().map(|optimizer| ReadingOptimizer {
            kind: optimizer.kind.as_deref().map(short),
            step: optimizer.step,
            tensors: optimizer.tensors.len() as u64,
        }),
        gguf: None,
        tensors: contents.tensors.len() as u64,
        warnings: Vec::new(),
        failure: None,
    };
    for warning in &contents.warnings {
        note(&mut reading, warning.kind, &warning.file, &warning.message);
    }
    reading
}

fn note(reading: &mut Reading, kind: WarningKind, file: &str, message: &str) {
    if reading.warnings.len() < MAX_WARNINGS {
        let message = message.chars().take(MAX_WARNING_CHARS).collect();
        let file = file.chars().take(MAX_WARNING_CHARS).collect();
        reading.warnings.push(Finding { kind: kind.as_str().to_owned(), file, message });
    }
}

/// A name that goes into listings.
fn short(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(100).collect()
}
