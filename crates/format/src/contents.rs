//! What a reader finds: the four parts of a checkpoint, and what is odd about it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::identity::Format;
use crate::tensor::Tensor;

/// What one file, or one folder that belongs together, holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// What it is; the outermost format first, then layouts.
    pub formats: Vec<Format>,
    /// What the file itself says of the model. Configurations that lie beside it come in later.
    pub architecture: Architecture,
    /// Weights and buffers, in the order of the file.
    pub tensors: Vec<Tensor>,
    /// Names of tensors that the file itself says are buffers, not parameters.
    pub buffers: BTreeSet<String>,
    /// Training state, if there is any.
    pub optimizer: Option<Optimizer>,
    /// Everything else that the file says, as JSON, under the names that the format has for it.
    pub metadata: Map<String, Value>,
    /// What runs, or may, when the file is loaded the usual way.
    pub code: Vec<Code>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

/// Which model it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Architecture {
    /// Family in the field's short word: `bert`, `gpt2`, `llama`, `t5`, `resnet`, `yolo`, `stable-diffusion`, `whisper`,
    /// …; `model_type` of transformers where there is one.
    pub family: Option<String>,
    /// Class that the library names, such as `BertForMaskedLM`.
    pub class: Option<String>,
    /// Sizes in the words of transformers' configurations where they have one: `hidden_size`, `num_hidden_layers`,
    /// `num_attention_heads`, `vocab_size`, …
    pub sizes: BTreeMap<String, u64>,
    /// The configuration as the file has it.
    pub config: Map<String, Value>,
}

/// State of an optimizer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Optimizer {
    /// Kind by its slots or by name, such as `Adam`, `SGD`, `Adafactor`; `None` when neither tells.
    pub kind: Option<String>,
    /// Steps taken.
    pub step: Option<u64>,
    /// Groups of parameters with their settings (`lr`, `weight_decay`, …), without the parameters themselves.
    pub groups: Vec<Map<String, Value>>,
    /// Parameters of each group, by name or, where the file gives none, by number; as many lists as groups, or none.
    pub members: Vec<Vec<String>>,
    /// State by parameter and slot, named `parameter.slot`, such as `encoder.weight.exp_avg`. Where the file gives no
    /// names, the parameter is its number.
    pub tensors: Vec<Tensor>,
}

/// Something that runs, or may run, when a file is loaded the usual way. What it would do is judged elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code {
    /// File, and the member of an archive after `!`.
    pub file: String,
    /// Name that is imported, script, operator, layer: `posix.system`, `modeling_x.py`, `PyFunc`.
    pub name: String,
    /// How it comes to run.
    pub way: CodeWay,
}

/// How code comes to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CodeWay {
    /// A pickle imports the name.
    PickleImport,
    /// A pickle calls the name.
    PickleCall,
    /// The file carries a program of its own: TorchScript, a graph, a module.
    Program,
    /// An operator or layer that reads or writes files, or runs Python.
    Operator,
    /// A configuration asks for code: `auto_map`, `trust_remote_code`, a module path.
    Configuration,
    /// A script lies in the folder.
    Script,
}

/// Something a person should know; never an error by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// Kind, for programs.
    pub kind: WarningKind,
    /// File, and the member of an archive after `!`; empty when it concerns the whole.
    pub file: String,
    /// Sentence fragment, lower case, no full stop, names in backticks.
    pub message: String,
}

/// Kinds of warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum WarningKind {
    /// A file, shard, piece or tensor is missing.
    Missing,
    /// A file, shard or tensor that nothing asks for.
    Extra,
    /// The same name or key twice.
    Duplicate,
    /// Two statements disagree: sizes, checksums, names in two places.
    Disagreement,
    /// Names with control, bidirectional or path characters.
    Name,
    /// A part that could not be read; the rest was.
    Unreadable,
    /// Values that are not finite, all zero, or constant.
    Values,
    /// One file can be taken for several formats.
    Polyglot,
    /// Anything else.
    Other,
}

impl WarningKind {
    /// The spelling in our output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Duplicate => "duplicate",
            Self::Disagreement => "disagreement",
            Self::Name => "name",
            Self::Unreadable => "unreadable",
            Self::Values => "values",
            Self::Polyglot => "polyglot",
            Self::Other => "other",
        }
    }
}

impl CodeWay {
    /// The spelling in our output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PickleImport => "pickle-import",
            Self::PickleCall => "pickle-call",
            Self::Program => "program",
            Self::Operator => "operator",
            Self::Configuration => "configuration",
            Self::Script => "script",
        }
    }
}

impl Contents {
    /// Nothing yet, of this format.
    #[must_use]
    pub fn of(format: Format) -> Self {
        Self { formats: vec![format], ..Self::default() }
    }

    /// Notes something that a person should know.
    pub fn warn(&mut self, kind: WarningKind, file: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Warning { kind, file: file.into(), message: message.into() });
    }
}
