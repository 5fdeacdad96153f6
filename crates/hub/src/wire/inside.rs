//! What is inside a checkpoint, as our own JSON; the Hub has nothing like it.
//!
//! - `GET /api/{models|datasets}/{id}/tensors/{rev}[/{path}]`: a level of modules, or with `search` a list, or with `name`
//!   one tensor
//! - `GET …/architecture/{rev}[/{path}]`: blocks
//!
//! Fields are added within a version, and never change their meaning.

use std::collections::BTreeMap;

use serde::Serialize;
use weighthouse::checkpoints::values::{Histogram, Window};
use weighthouse::checkpoints::{Part, Progress, ReadingParameters, TensorStats};
use weighthouse::format::contents::Warning;
use weighthouse::inspect::diagram::Block;

use super::query::{Query, QueryError};

/// What is asked about a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Weights or optimizer.
    pub part: Part,
    /// Module whose level is shown; empty for the whole.
    pub module: String,
    /// Tensor that is shown.
    pub name: Option<String>,
    /// Text that names of tensors contain, in any case.
    pub search: Option<String>,
    /// Whether layers that are alike stand together.
    pub fold: bool,
}

impl Ask {
    /// Reads `part`, `module`, `name`, `search` and `fold`.
    ///
    /// # Errors
    /// [`QueryError::BadValue`] for a part that is neither `weights` nor `optimizer`.
    pub fn of(query: &Query) -> Result<Self, QueryError> {
        let part = query.text("part").unwrap_or("weights");
        let part = Part::parse(part).ok_or_else(|| QueryError::BadValue {
            key: "part".to_owned(),
            expected: "weights or optimizer",
            value: part.chars().take(80).collect(),
        })?;
        Ok(Self {
            part,
            module: query.text("module").unwrap_or_default().to_owned(),
            // A tensor may have an empty name.
            name: query.values("name").last().map(str::to_owned),
            search: query.text("search").map(str::to_owned),
            fold: query.flag("fold")?.unwrap_or(true),
        })
    }
}

/// `weighthouse.tensors/1`: a level, or what a search found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Level {
    /// `weighthouse.tensors/1`.
    pub schema: &'static str,
    /// Commit, 40 hex digits.
    pub commit: String,
    /// Folder or file that was read; empty for the whole.
    pub path: String,
    /// `weights` or `optimizer`.
    pub part: &'static str,
    /// Formats and layouts, the outermost first.
    pub formats: Vec<String>,
    /// Tensors of the part.
    pub tensors: u64,
    /// Elements of the part.
    pub elements: u64,
    /// Parameters of the weights; what shares its bytes counts once.
    pub parameters: u64,
    /// Module whose level this is.
    pub module: String,
    /// The level, or one page of it.
    pub rows: Vec<LevelRow>,
    /// Rows of all pages.
    pub total: u64,
    /// `done`, `waiting`, `failed` or `never`: whether hashes and statistics are there.
    pub index: &'static str,
    /// What a person should know.
    pub warnings: Vec<WarningInfo>,
}

/// A module or a tensor.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum LevelRow {
    /// A module, or several that are alike.
    #[serde(rename_all = "camelCase")]
    Module {
        /// Name, the first of those that are alike.
        name: String,
        /// Name below the level.
        label: String,
        /// Number of modules that are alike.
        alike: u64,
        /// Tensors, over all that are alike.
        tensors: u64,
        /// Elements, over all that are alike.
        elements: u64,
        /// Bytes, over all that are alike.
        bytes: u64,
    },
    /// A tensor.
    Tensor(TensorInfo),
}

/// A tensor, without its values.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TensorInfo {
    /// Name.
    pub name: String,
    /// Element type, in the spelling of safetensors or GGUF.
    pub dtype: String,
    /// Extents, outermost first.
    pub shape: Vec<u64>,
    /// Number of elements.
    pub elements: u64,
    /// Bytes of the elements.
    pub bytes: u64,
    /// First file that holds elements, from the root of the repository.
    pub file: Option<String>,
    /// Offset in it.
    pub offset: Option<u64>,
}

/// `weighthouse.tensor/1`: one tensor.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TensorReply {
    /// `weighthouse.tensor/1`.
    pub schema: &'static str,
    /// Commit, 40 hex digits.
    pub commit: String,
    /// The tensor.
    #[serde(flatten)]
    pub tensor: TensorInfo,
    /// SHA-256 of the elements, row-major and little-endian; of quantised ones, of their blocks.
    pub sha256: Option<String>,
    /// Statistics.
    pub stats: Option<TensorStats>,
    /// Histogram, with `histogram=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub histogram: Option<Histogram>,
    /// Values, with `row` or `column`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowInfo>,
    /// Where the same tensor is, in repositories that the caller may see.
    pub also_in: Vec<AlsoIn>,
    /// Whether hash and statistics are there, as in [`Level::index`].
    pub index: &'static str,
    /// Address of its elements as npy, from the root of the hub.
    pub npy: String,
}

/// A window of values; what is not finite is spelled as text.
#[derive(Debug, Serialize)]
pub struct WindowInfo {
    /// First row.
    pub row: u64,
    /// First column.
    pub column: u64,
    /// Rows of the whole.
    pub rows: u64,
    /// Columns of the whole.
    pub columns: u64,
    /// Rows of numbers.
    pub values: Vec<Vec<serde_json::Value>>,
}

/// A place where the same tensor is.
#[derive(Debug, Serialize)]
pub struct AlsoIn {
    /// `model` or `dataset`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Id of the repository.
    pub id: String,
    /// Commit, 40 hex digits.
    pub commit: String,
    /// File, from the root of the repository.
    pub file: String,
    /// Name in that file.
    pub name: String,
}

/// `weighthouse.architecture/1`: blocks of a model.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Architecture {
    /// `weighthouse.architecture/1`.
    pub schema: &'static str,
    /// Commit, 40 hex digits.
    pub commit: String,
    /// Folder or file that was read; empty for the whole.
    pub path: String,
    /// Formats and layouts, the outermost first.
    pub formats: Vec<String>,
    /// Family, such as `llama`.
    pub family: Option<String>,
    /// Class, such as `LlamaForCausalLM`.
    pub class: Option<String>,
    /// Sizes, in the words of transformers.
    pub sizes: BTreeMap<String, u64>,
    /// Parameters.
    pub parameters: ReadingParameters,
    /// Blocks in the order of data, as far as names tell it.
    pub blocks: Vec<BlockInfo>,
}

/// A block of [`Architecture`].
#[derive(Debug, Serialize)]
pub struct BlockInfo {
    /// Name below the block around it.
    pub label: String,
    /// Name of the module, the first of those that are alike.
    pub module: String,
    /// What it does, as far as its name tells.
    pub role: &'static str,
    /// Number of modules that are alike.
    pub alike: u64,
    /// Elements, over all that are alike.
    pub elements: u64,
    /// Tensors, over all that are alike.
    pub tensors: u64,
    /// Blocks in it.
    pub blocks: Vec<BlockInfo>,
}

/// Something that a person should know.
#[derive(Debug, Serialize)]
pub struct WarningInfo {
    /// Kind, such as `missing`.
    pub kind: &'static str,
    /// File; empty when it concerns the whole.
    pub file: String,
    /// Sentence fragment.
    pub message: String,
}

impl From<&Warning> for WarningInfo {
    fn from(warning: &Warning) -> Self {
        Self { kind: warning.kind.as_str(), file: warning.file.clone(), message: warning.message.clone() }
    }
}

impl From<Block> for BlockInfo {
    fn from(block: Block) -> Self {
        Self {
            label: block.label,
            module: block.module,
            role: block.role.as_str(),
            alike: block.alike,
            elements: block.elements,
            tensors: block.tensors,
            blocks: block.inner.into_iter().map(Self::from).collect(),
        }
    }
}

impl From<Window> for WindowInfo {
    fn from(window: Window) -> Self {
        let value = |value: &f64| match serde_json::Number::from_f64(*value) {
            Some(number) => serde_json::Value::Number(number),
            None => value.to_string().into(),
        };
        Self {
            row: window.row,
            column: window.column,
            rows: window.rows,
            columns: window.columns,
            values: window.values.iter().map(|row| row.iter().map(value).collect()).collect(),
        }
    }
}

/// The word for where a reading stands.
#[must_use]
pub const fn index_word(progress: &Progress) -> &'static str {
    match progress {
        Progress::Done(_) => "done",
        Progress::Waiting => "waiting",
        Progress::Failed { .. } => "failed",
        Progress::Never => "never",
    }
}
