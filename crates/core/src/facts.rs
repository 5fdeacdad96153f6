//! What the default branch of a repository says about it: tags, task, library, parameters; kept for listings.
//!
//! After each commit to the default branch the names of the repository are walked once, in memory, and only if one of
//! the files that matter changed are those files read: the card, a few JSON files, and the headers of safetensors. All
//! reads are bounded, so that a repository of 100,000 files or a hostile header costs little.

mod derive;
mod names;
mod read;
mod tags;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weighthouse_store::catalog::{RepoKey, RepoRecord};

use crate::access::Repo;
use crate::checkpoints::Reading;
use crate::revision::{MAIN, Revision};
use crate::{Error, Hub};

/// Changes whenever facts are derived in a new way, so that stored ones count as old.
const VERSION: u32 = 1;
/// Patience with a slow storage; the commit stands whatever becomes of its facts.
const MAX_TIME: Duration = Duration::from_secs(20);

/// What is known of the default branch of a repository. Everything is a claim of its author, except for
/// [`Facts::safetensors`] and the flags of formats, which were read from the files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Facts {
    /// What they were derived from: a version and a digest over the names and ids of the files that matter.
    pub source: String,
    /// YAML of the card as JSON. Without its evaluation results if they are too long for a listing.
    pub card_data: Option<Map<String, Value>>,
    /// Tags, from the card and derived.
    pub tags: Vec<String>,
    /// Task, such as `text-generation`.
    pub pipeline_tag: Option<String>,
    /// Library that loads it, such as `transformers`.
    pub library_name: Option<String>,
    /// `model_type` of `config.json`, such as `bert`.
    pub model_type: Option<String>,
    /// Classes that `config.json` names, such as `BertForMaskedLM`.
    pub architectures: Vec<String>,
    /// Summary of `config.json` and `tokenizer_config.json`.
    pub config: Option<Map<String, Value>>,
    /// Mask token of a model that fills masks.
    pub mask_token: Option<String>,
    /// How transformers loads it.
    pub transformers: Option<Transformers>,
    /// Parameters of the safetensors files that make up the model.
    pub safetensors: Option<Parameters>,
    /// Formats of weights that occur among the names, such as `safetensors` and `gguf`.
    pub formats: Vec<String>,
    /// Models that this one was made from.
    pub base_models: Vec<String>,
    /// How it was made from them: `finetune`, `adapter`, `merge` or `quantized`.
    pub base_model_relation: Option<String>,
    /// What a reader found inside, a little after the commit; until then that of the commit before.
    pub inside: Option<Reading>,
}

/// How transformers loads a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Transformers {
    /// Class such as `AutoModelForCausalLM`.
    pub auto_model: String,
    /// Class in the repository's own code.
    pub custom_class: Option<String>,
    /// Class such as `AutoTokenizer`.
    pub processor: Option<String>,
}

/// Parameters by element type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Parameters {
    /// Number of elements of each dtype, by its spelling in safetensors.
    pub by_dtype: BTreeMap<String, u64>,
    /// Elements of all types.
    pub total: u64,
    /// Whether there is more than one file.
    pub sharded: bool,
}

impl Facts {
    /// Reads back what is kept with a repository; nothing is known of one without commits.
    #[must_use]
    pub fn of(record: &RepoRecord) -> Self {
        serde_json::from_str(&record.facts).unwrap_or_default()
    }

    /// Evaluation results of the card.
    #[must_use]
    pub fn model_index(&self) -> Option<&Value> {
        self.card_data.as_ref()?.get("model-index")
    }

    /// Parameters, as far as they are known: those that a reader counted, or those that the headers claim.
    #[must_use]
    pub fn parameter_count(&self) -> Option<u64> {
        let read = self.inside.as_ref().map(|inside| inside.parameters.total).filter(|&total| total > 0);
        read.or(self.safetensors.as_ref().map(|claimed| claimed.total))
    }

    /// Tags, and what else a listing can be filtered by: family and class of the architecture.
    fn search_tags(&self) -> Vec<String> {
        let mut tags = self.tags.clone();
        let read = self.inside.iter().flat_map(|inside| [&inside.family, &inside.class]).flatten();
        for tag in read.chain(&self.architectures) {
            if !tag.is_empty() && !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        tags
    }

    /// Whether there are files of a format, such as `gguf`.
    #[must_use]
    pub fn has_format(&self, format: &str) -> bool {
        self.formats.iter().any(|found| found == format)
    }
}

impl Hub {
    /// Derives and keeps the facts of a new head of the default branch, unless nothing that matters changed. A failure
    /// is logged: the commit stands.
    pub async fn refresh_facts(&self, repo: &Repo, revision: &Revision) {
        let outcome = match tokio::time::timeout(MAX_TIME, self.derive_facts(repo, revision)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it took more than {} s", MAX_TIME.as_secs()),
        };
        tracing::warn!(
            repo.id = %repo.record.id, commit.id = %revision.oid, error = outcome,
            "the facts of a repository stay those of an earlier commit"
        );
    }

    async fn derive_facts(&self, repo: &Repo, revision: &Revision) -> Result<(), Error> {
        let names = self.walk_names(revision).await?;
        let source = names.source();
        // The caller's record may be older than the last commit.
        let Some(record) = self.catalog().repos().get(&repo.record.key).await? else { return Ok(()) };
        let before = Facts::of(&record);
        if before.source == source {
            return Ok(());
        }
        let sources = self.read_sources(revision, &names).await?;
        let mut facts = derive::facts(record.kind, &names, &sources);
        facts.source = source;
        facts.inside = before.inside;
        let json = serde_json::to_string(&facts).map_err(|error| Error::Malformed(error.to_string()))?;
        // Whoever has moved the branch meanwhile derives newer ones.
        let head = self.catalog().refs().read(&record.key, &format!("refs/heads/{MAIN}")).await?;
        if head == Some(revision.oid) {
            self.catalog()
                .repos()
                .set_facts(&record.key, &json, &facts.search_tags(), facts.parameter_count().unwrap_or(0))
                .await?;
        }
        Ok(())
    }

    /// Keeps what a reader found in the head of the default branch. The turn of the repository must be held.
    pub(crate) async fn keep_reading(&self, key: &RepoKey, reading: Reading) -> Result<(), Error> {
        let Some(record) = self.catalog().repos().get(key).await? else { return Ok(()) };
        let mut facts = Facts::of(&record);
        facts.inside = Some(Reading { warnings: Vec::new(), ..reading });
        let json = serde_json::to_string(&facts).map_err(|error| Error::Malformed(error.to_string()))?;
        let parameters = facts.parameter_count().unwrap_or(0);
        Ok(self.catalog().repos().set_facts(key, &json, &facts.search_tags(), parameters).await?)
    }
}
